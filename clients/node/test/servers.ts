/** The other processes of a mesh, as far as a test lets them speak. */

import type { TestContext } from "node:test";
import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from "@grpc/grpc-js";

/** A server of some methods of a service, until the test ends; where it listens. */
export async function served(
  t: TestContext,
  service: ServiceDefinition,
  methods: UntypedServiceImplementation,
): Promise<string> {
  const server = new Server();
  server.addService(service, methods);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  );
  t.after(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

/** What others put in, one after the other, and whoever takes it out waits for. */
export class Mailbox<T> {
  readonly #waiting: T[] = [];
  readonly #takers: ((value: T) => void)[] = [];

  put(value: T): void {
    const taker = this.#takers.shift();
    taker === undefined ? this.#waiting.push(value) : taker(value);
  }

  async take(): Promise<T> {
    const value = this.#waiting.shift();
    return value !== undefined ? value : await new Promise((resolve) => this.#takers.push(resolve));
  }

  /** The first one that fits; those before it are dropped. */
  async until(fits: (value: T) => boolean): Promise<T> {
    for (;;) {
      const value = await this.take();
      if (fits(value)) {
        return value;
      }
    }
  }
}
