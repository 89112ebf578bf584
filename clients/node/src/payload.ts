/** A value that travels through the mesh byte for byte, as its producer wrote it. */

import type { Payload as Message } from "./api/forgemesh/api/payload/v1/payload.js";
import { parseJson, stringifyJson } from "./json.js";

const JSON_TYPE = "application/json";

export class Payload {
  constructor(
    readonly data: Uint8Array,
    /** How to read `data`. */
    readonly mediaType: string = JSON_TYPE,
    /** Small facts that are kept with the value. */
    readonly metadata: Readonly<Record<string, string>> = {},
  ) {}

  /** A payload of any value: a Payload stays what it is, everything else becomes JSON. Throws TypeError. */
  static of(value: unknown): Payload {
    return value instanceof Payload ? value : new Payload(Buffer.from(stringifyJson(value)));
  }

  /** One that has travelled; none is an empty JSON payload. */
  static from(message: Message | undefined): Payload {
    return message === undefined
      ? new Payload(new Uint8Array())
      : new Payload(message.data, message.mediaType || JSON_TYPE, message.metadata);
  }

  /** Whether it is JSON: application/json, or a type that ends in +json. */
  get isJson(): boolean {
    const kind = (this.mediaType.split(";")[0] ?? "").trim().toLowerCase();
    return kind === JSON_TYPE || kind.endsWith("+json");
  }

  /** The bytes of data and metadata. */
  get size(): number {
    let size = this.mediaType.length + this.data.length;
    for (const [key, value] of Object.entries(this.metadata)) {
      size += Buffer.byteLength(key) + Buffer.byteLength(value);
    }
    return size;
  }

  /** The value of a JSON payload; integers beyond 2^53 are bigints. Throws TypeError or SyntaxError. */
  decode(): unknown {
    if (!this.isJson) {
      throw new TypeError(`a payload of type ${JSON.stringify(this.mediaType)} cannot be read as JSON`);
    }
    return parseJson(new TextDecoder("utf-8", { fatal: true }).decode(this.data));
  }

  /** As it travels. */
  toMessage(): Message {
    return { mediaType: this.mediaType, data: this.data as Message["data"], metadata: { ...this.metadata } };
  }
}
