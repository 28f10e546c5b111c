import { page } from '../../lib/pages';

export default [
    page('/storage', 'Storage', () => import('./Storage.svelte'), {
        group: 'Configure',
        order: 0,
        key: 's',
        icon: 'M3 4c0-1 2.200-1.700 5-1.700s5 .7 5 1.700v8c0 1-2.200 1.700-5 1.700s-5-.7-5-1.700ZM3 4c0 1 2.200 1.700 5 1.700s5-.7 5-1.700M3 8c0 1 2.200 1.700 5 1.700s5-.7 5-1.700',
        scope: 'read',
        wholeTeam: true,
    }),
    page('/storage/:volume', 'Volume', () => import('./Volume.svelte')),
];
