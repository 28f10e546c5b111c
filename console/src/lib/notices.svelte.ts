/** Short notices of what was done or refused. */

export interface Notice {
    id: number;
    kind: 'done' | 'refused';
    text: string;
    nextStep: string | null;
}

const SHOWN_MS = 6_000;

class Notices {
    all = $state<Notice[]>([]);
    #number = 0;

    done(text: string): void {
        this.#add({ id: ++this.#number, kind: 'done', text, nextStep: null });
    }

    /** Stays until it is closed: it says what to do. */
    refused(text: string, nextStep: string | null = null): void {
        this.#add({ id: ++this.#number, kind: 'refused', text, nextStep });
    }

    close(id: number): void {
        this.all = this.all.filter((one) => one.id !== id);
    }

    #add(notice: Notice): void {
        this.all = [...this.all.slice(-3), notice];
        if (notice.kind === 'done') setTimeout(() => this.close(notice.id), SHOWN_MS);
    }
}

export const notices = new Notices();
