/** Permits for trial calls: each is good for one call, and only as long as no newer one has been seen. */

const REMEMBERED = 4096;
const LONGEST = 256;
/**
 * Milliseconds for which a generation that was used shuts out older ones; a permit's lease is much shorter. Not for ever: a
 * balancer that starts with nothing to go by counts anew.
 */
const FENCE = 60_000;

export interface Generation {
  incarnation: bigint;
  number: bigint;
}

export class Permits {
  #newest: Generation = { incarnation: 0n, number: 0n };
  #used = new Set<string>();
  #last = Number.NEGATIVE_INFINITY;

  /** Why no call may be made for a permit at `now` (milliseconds); empty if one may. */
  refusal(id: string, of: Generation, now: number): string {
    if (id === "") {
      return "it has no name";
    }
    if (id.length > LONGEST) {
      return `its name has more than ${LONGEST} characters`;
    }
    if (this.#used.has(id)) {
      return "a call was made for it already";
    }
    if (isBefore(of, this.#newest) && now - this.#last < FENCE) {
      const sameProcess = of.incarnation === this.#newest.incarnation;
      const later = sameProcess ? `generation ${this.#newest.number}` : `incarnation ${this.#newest.incarnation}`;
      return `it is of generation ${of.number} and the circuit is at ${later} by now`;
    }
    return "";
  }

  /** A call is made for a permit against which there is nothing. */
  use(id: string, of: Generation, now: number): void {
    if (of.incarnation !== this.#newest.incarnation || of.number !== this.#newest.number) {
      this.#newest = of;
      this.#used = new Set();
    }
    this.#used.add(id);
    this.#last = now;
    if (this.#used.size > REMEMBERED) {
      for (const oldest of this.#used) {
        this.#used.delete(oldest);
        break;
      }
    }
  }
}

function isBefore(one: Generation, other: Generation): boolean {
  return one.incarnation < other.incarnation || (one.incarnation === other.incarnation && one.number < other.number);
}
