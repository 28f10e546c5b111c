import { page } from '../../lib/pages';

export default [
    page('/templates', 'Templates', () => import('./Templates.svelte'), {
        group: 'Configure',
        order: 3,
        key: 'm',
        icon: 'M2.500 2.500h11v3h-11ZM2.500 8h5v5.500h-5ZM10 8h3.500v5.500H10Z',
        scope: 'read',
        wholeTeam: true,
    }),
];
