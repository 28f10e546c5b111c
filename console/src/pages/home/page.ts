import { page } from '../../lib/pages';

export default [
    page('/', 'Home', () => import('./Home.svelte'), {
        group: 'Run',
        order: 0,
        key: 'h',
        icon: 'M2.500 7.500L8 3l5.500 4.500V13h-3.700V9.500H6.200V13H2.500Z',
    }),
];
