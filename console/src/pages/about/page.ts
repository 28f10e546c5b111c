import { page } from '../../lib/pages';

export default [
    page('/about', 'About', () => import('./About.svelte'), {
        group: 'Server',
        order: 1,
        key: 'o',
        icon: 'M8 2.500a5.500 5.500 0 1 0 0 11a5.500 5.500 0 1 0 0-11ZM8 7.300v3.500M8 5.200v.01',
    }),
];
