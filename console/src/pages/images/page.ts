import { page } from '../../lib/pages';

export default [
    page('/images', 'Images', () => import('./Images.svelte'), {
        group: 'Configure',
        order: 1,
        key: 'i',
        icon: 'M8 2.500l5.500 2.700v5.600L8 13.500l-5.500-2.700V5.200ZM2.500 5.200L8 8l5.500-2.800M8 8v5.500',
        scope: 'read',
        wholeTeam: true,
    }),
];
