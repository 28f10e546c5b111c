import { page } from '../../lib/pages';

export default [
    page('/endpoints', 'Endpoints', () => import('./Endpoints.svelte'), {
        group: 'Run',
        order: 1,
        key: 'e',
        icon: 'M2.500 3.500h11v3.700h-11ZM2.500 8.800h11v3.700h-11ZM4.800 5.350h.01M4.800 10.650h.01',
    }),
    page('/endpoints/new', 'Create an endpoint', () => import('./Create.svelte')),
    page('/endpoints/:endpoint/:tab?', 'Endpoint', () => import('./Endpoint.svelte')),
    page('/endpoints/:endpoint/edit', 'Edit an endpoint', () => import('./Edit.svelte')),
];
