// Work on what changes faster than answers come: one piece at a time, and always the newest next.

/** `work(question, signal)` is called for a question, and for the newest one asked meanwhile. */
export class Newest {
  constructor(work) {
    this.work = work;
    this.controller = new AbortController();
  }

  ask(question) {
    this.next = { question };
    if (!this.running) this.#run();
  }

  /** Forgets what waits; what is under way may show nothing any more. */
  stop() {
    this.next = null;
    this.controller.abort();
    this.controller = new AbortController();
  }

  async #run() {
    this.running = true;
    try {
      while (this.next) {
        const { question } = this.next;
        this.next = null;
        await this.work(question, this.controller.signal);
      }
    } finally {
      this.running = false;
    }
  }
}
