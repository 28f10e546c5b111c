/** Who is signed in, and what they may do. */

import { api, ask, whenSignedOut, type Me, type Scope } from './api';

/** Other tabs of this browser, which share the session. */
const tabs = new BroadcastChannel('stoker-session');

class Session {
    me = $state<Me | null>(null);
    /** Whether it is known yet if somebody is signed in. */
    known = $state(false);
    /** Why the person has to sign in again; empty at first. */
    ended = $state('');

    /** Find out who is signed in. */
    async look(): Promise<void> {
        try {
            this.me = await ask(api.GET('/api/me'));
            this.ended = '';
        } catch {
            this.me = null;
        } finally {
            this.known = true;
        }
    }

    async signIn(key: string): Promise<void> {
        await ask(api.POST('/api/session', { body: { key } }));
        await this.look();
    }

    async signOut(): Promise<void> {
        await api.DELETE('/api/session').catch(() => undefined);
        tabs.postMessage('signed out');
        this.me = null;
        this.ended = '';
    }

    /** Whether an action that asks for the scope would be let through. */
    may(scope: Scope): boolean {
        return this.me?.may.includes(scope) ?? false;
    }

    /** The same, for what concerns the whole team and not one endpoint. */
    mayForTeam(scope: Scope): boolean {
        return this.may(scope) && this.me?.key.endpoints.length === 0;
    }

    /** Whether it is the operator's team, which alone says what a whole team may cost. */
    get operator(): boolean {
        return this.me?.operator ?? false;
    }
}

export const session = new Session();

whenSignedOut(() => {
    if (session.me) session.ended = 'The session has ended.';
    session.me = null;
});

tabs.onmessage = () => {
    session.me = null;
};
