import { page } from '../../lib/pages';

export default [
    page('/webhooks', 'Webhooks', () => import('./Webhooks.svelte'), {
        group: 'Configure',
        order: 4,
        key: 'b',
        icon: 'M6.200 6.700a2.600 2.600 0 1 1 3.500.3l2.200 3.600M5.800 6.900 3.700 10.500M6 12h5M5.500 12a1.900 1.900 0 1 1-3.800 0a1.900 1.900 0 1 1 3.800 0M14.500 12a1.900 1.900 0 1 1-3.800 0a1.900 1.900 0 1 1 3.800 0',
    }),
];
