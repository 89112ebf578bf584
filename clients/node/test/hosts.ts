/** Hosts of tests, and the other end of their sessions. */

import assert from "node:assert/strict";
import { once } from "node:events";
import type { TestContext } from "node:test";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { Invocation, InvocationResult } from "../src/api/forgemesh/api/plugin/v1/invocation.js";
import { type Progress, SessionRequest, type SessionResponse } from "../src/api/forgemesh/api/plugin/v1/session.js";
import { Fault } from "../src/fault.js";
import type { Served } from "../src/plugin/index.js";
import type { Settings } from "../src/plugin/settings.js";
import { TestHost } from "../src/testing/index.js";

/** A host until the test ends. */
export async function hostOf(t: TestContext, plugin: Served, settings: Partial<Settings> = {}): Promise<TestHost> {
  const host = await TestHost.start(plugin, settings);
  t.after(() => host.stop());
  return host;
}

export type Parts = Parameters<typeof SessionRequest.fromPartial>[0];
export type Asked = Parameters<typeof Invocation.fromPartial>[0];

/** The other end of a session. */
export class Caller {
  credits = 0;
  drained = false;
  readonly results = new Map<bigint, InvocationResult>();
  readonly accepted = new Set<bigint>();
  readonly progress = new Map<bigint, Progress>();
  readonly frames: SessionResponse[] = [];
  isEnded = false;
  fault: unknown;

  constructor(readonly stream: ClientDuplexStream<SessionRequest, SessionResponse>) {
    stream.on("data", (response: SessionResponse) => this.#hear(response));
    stream.on("error", (error) => {
      this.fault = Fault.from(error);
      stream.emit("heard");
    });
    stream.on("end", () => {
      this.isEnded = true;
      stream.emit("heard");
    });
  }

  /** One that has said hello and was answered. */
  static async greeted(host: TestHost): Promise<Caller> {
    const caller = new Caller(host.service.session());
    caller.send({ hello: { protocolMin: 1, protocolMax: 1, callerId: "test" } });
    await caller.until(() => caller.frames.length > 0);
    return caller;
  }

  send(parts: Parts): void {
    this.stream.write(SessionRequest.fromPartial(parts));
  }

  invoke(...invocations: Asked[]): void {
    this.send({ invocations });
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      assert(!this.isEnded || holds(), "the session is over");
      await once(this.stream, "heard");
    }
  }

  #hear(response: SessionResponse): void {
    this.frames.push(response);
    this.credits += response.credits;
    this.drained ||= response.drain !== undefined;
    for (const id of response.accepted) {
      this.accepted.add(id);
    }
    for (const said of response.progress) {
      this.progress.set(said.callId, said);
    }
    for (const result of response.results) {
      assert(!this.results.has(result.callId), `call ${result.callId} is answered twice`);
      this.results.set(result.callId, result);
    }
    this.stream.emit("heard");
  }
}

/** The reason of a failed result; empty for one that is none. */
export function reasonOf(result: InvocationResult | undefined): string {
  return result?.outcome?.$case === "failure" ? result.outcome.value.reason : "";
}
