/** One question at a time: asked again once the answer to the earlier one is here, so that the newest state is always shown in the end. */

/** @template Answer */
export class Latest {
  isStale = false;
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
    this.asking ??= this.catchUp().finally(() => (this.asking = null));
    return this.asking;
  }

  async catchUp() {
    while (this.isStale) {
      await null; // until the event that called has changed all it is going to change
      this.isStale = false;
      this.show(await this.ask());
    }
  }
}
