import { describe, expect, test } from 'vitest';
import { BLANK, changed, options, told, type Form } from '../src/pages/endpoints/fields';

const before: Form = { ...BLANK, name: 'one', image: 'dir:/one', env: [], http_port: '8080' };

describe('the form of an endpoint', () => {
    test('nothing is sent of what was not changed', () => {
        expect(changed(before, structuredClone(before))).toEqual({});
    });
    test('a name, a weight and a health check are sent as the API takes them, and told as options', () => {
        const fields = changed(before, {
            ...before,
            name: 'two ',
            weight: '3',
            health_path: '/health',
            health_failures: '5',
        });
        expect(fields).toEqual({
            name: 'two',
            weight: 3,
            health: { path: '/health', initial_delay_s: 0, period_s: 10, timeout_s: 3, successes: 1, failures: 5 },
        });
        expect(options(fields).join(' ')).toBe(
            '--name two --health-path /health --health-delay 0 --health-period 10 --health-timeout 3 --health-successes 1 --health-failures 5 --weight 3',
        );
    });
    test('an empty path takes the check away', () => {
        const checked = { ...before, health_path: '/health' };
        expect(changed(checked, { ...checked, health_path: '' })).toEqual({ health: { path: '' } });
    });
    test('jobs are delivered ahead by a word or a number', () => {
        expect(changed(before, { ...before, deliver_ahead: 'off' })).toEqual({ deliver_ahead: 'off' });
        expect(changed(before, { ...before, deliver_ahead: '4' })).toEqual({ deliver_ahead: 4 });
    });
    test('a line that is shown has no secret, and a kept one stays', () => {
        const env = [
            { name: 'OPEN', value: '1', secret: false, kept: false },
            { name: 'NEW', value: 'hush', secret: true, kept: false },
            { name: 'KEPT', value: '', secret: true, kept: true },
        ];
        const fields = changed(before, { ...before, env });
        expect(fields.env).toEqual({ OPEN: '1', NEW: { secret: 'hush' }, KEPT: { secret: true } });
        expect(JSON.stringify(told(fields))).not.toContain('hush');
        expect(options(fields).join(' ')).toBe('--env OPEN=1 --secret NEW --secret KEPT');
    });
});
