/** The same call with other clients, as it is written in a program or a terminal. Pure. */

import { cli, curl } from '../../lib/lines';

/** A JSON value as Python writes it. */
export function python(value: unknown): string {
    if (value === null || value === undefined) return 'None';
    if (typeof value === 'boolean') return value ? 'True' : 'False';
    if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
    if (typeof value === 'object') {
        const members = Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one)}`);
        return `{${members.join(', ')}}`;
    }
    return JSON.stringify(value);
}

/** By the name of the client. Each prints the output, but curl, which prints the id. The key stays in its variable. */
export function snippets(endpoint: string, input: unknown, origin: string): Record<string, string> {
    const name = JSON.stringify(endpoint);
    // as the whole request: a client takes an input that has a member `input` for one
    const run = `run({"input": ${python(input)}})\nprint(job.output(timeout=600))`;
    return {
        CLI: cli('job', 'run', endpoint, '-d', JSON.stringify(input ?? null), '--wait'),
        curl: curl({ method: 'POST', path: `/v2/${endpoint}/run`, body: { input } }, origin),
        Runpod: `import os
import runpod

runpod.api_key = os.environ["STOKER_API_KEY"]
runpod.endpoint_url_base = "${origin}/v2"
job = runpod.Endpoint(${name}).${run}`,
        Novita: `import os
import novita_gpus

key = os.environ["STOKER_API_KEY"]
endpoint = novita_gpus.Endpoint(${name}, api_key=key, endpoint_url_base="${origin}/v1")
job = endpoint.${run}`,
    };
}
