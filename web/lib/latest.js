/**
 * One question at a time: asked again once the answer to the earlier one is here, so that the newest state is always shown in the end,
 * and nothing once there is nothing to ask about.
 */

/** @template Answer */
export class Latest {
  isStale = false;
  isStopped = false;
  /** @type {Promise<void>|null} */
  asking = null;

  /**
   * @param {() => Promise<Answer>|Answer} ask About things as they are at that moment.
   * @param {(answer: Answer) => void} show
   */
  constructor(ask, show) {
    this.ask = ask;
    this.show = show;
  }

  /** @returns {Promise<void>} Settles when the newest state is shown. */
  update() {
    this.isStale = true;
    this.isStopped = false;
    this.asking ??= this.catchUp().finally(() => (this.asking = null));
    return this.asking;
  }

  /** There is nothing to ask about any more; what was asked is not shown either. */
  stop() {
    this.isStale = false;
    this.isStopped = true;
  }

  async catchUp() {
    while (this.isStale) {
      await null; // until the event that called has changed all it is going to change
      if (!this.isStale) return;
      this.isStale = false;
      const answer = await this.ask();
      if (!this.isStopped) this.show(answer);
    }
  }
}
