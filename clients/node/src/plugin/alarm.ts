/** A timer of any length. */

const LONGEST = 2 ** 31 - 1;

/** Rings once, after so many milliseconds, unless it is stopped. */
export class Alarm {
  #timer: NodeJS.Timeout | undefined;

  constructor(milliseconds: number, ring: () => void) {
    const end = performance.now() + milliseconds;
    const wait = () => {
      const left = end - performance.now();
      if (left > LONGEST) {
        this.#timer = setTimeout(wait, LONGEST);
      } else {
        this.#timer = setTimeout(ring, Math.max(0, left));
      }
    };
    wait();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
