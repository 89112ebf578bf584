/** Keeps an instance registered while it runs without anybody who does. */

import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, type ChannelCredentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import type { Manifest } from "../api/forgemesh/api/plugin/v1/manifest.js";
import type { Instance } from "../api/forgemesh/api/registry/v1/instance.js";
import {
  DeregisterInstanceRequest,
  PublishManifestRequest,
  RegisterInstanceRequest,
  RegistryServiceClient,
  RenewLeaseRequest,
} from "../api/forgemesh/api/registry/v1/registry_service.js";
import { Code, durationOf, Fault } from "../fault.js";
import type { Identity } from "./identity.js";
import type { LoadMeter } from "./load.js";
import type { Settings } from "./settings.js";

const REGISTRY_DEADLINE = 5000;
const FAREWELL_DEADLINE = 1000;
const FIRST_BACKOFF = 100;
const LONGEST_BACKOFF = 2000;
/** Milliseconds after which trouble that goes on is told again. */
const REMINDER = 30_000;

type Method<Request, Answer> = (
  request: Request,
  metadata: Metadata,
  options: CallOptions,
  done: (error: ServiceError | null, answer: Answer) => void,
) => unknown;

/**
 * Registers, renews every third of the lease and registers anew when the lease is lost. A registry that is away or refuses
 * is asked again with back-off and jitter, and what it says goes to the log when it changes and every 30 s.
 */
export class Registration {
  /** Resolves with the first registration, and rejects with a refusal that repeating does not mend. */
  readonly first: Promise<void>;
  /** Rejects when the registry refuses this instance for good. */
  readonly hopeless: Promise<never>;
  readonly #registry: RegistryServiceClient;
  readonly #stopped = new AbortController();
  #resolveFirst: () => void = () => {};
  #giveUp: (why: Error) => void = () => {};
  #isRegistered = false;
  #isLeaving = false;
  #isFirst = true;
  #reason: string | undefined;
  #saidAt = Number.NEGATIVE_INFINITY;
  #holder: readonly [bigint, bigint] | undefined;

  constructor(
    credentials: ChannelCredentials,
    readonly settings: Settings,
    readonly manifest: Manifest,
    readonly instance: Instance,
    readonly identity: Identity,
    readonly load: LoadMeter,
    readonly onIncarnation: () => void,
  ) {
    this.#registry = new RegistryServiceClient(settings.registry, credentials);
    this.hopeless = new Promise((_, reject) => {
      this.#giveUp = reject;
    });
    this.hopeless.catch(() => {});
    const registered = new Promise<void>((resolve) => {
      this.#resolveFirst = resolve;
    });
    this.first = Promise.race([registered, this.hopeless]);
    this.first.catch(() => {});
    void this.#run();
  }

  /** Deregisters, or asks that no new calls be routed here. If the registry is away, the lease runs out by itself. */
  async leave({ drain }: { drain: boolean }): Promise<void> {
    this.#isLeaving = true;
    if (this.#isRegistered) {
      await this.#farewell(drain);
    }
  }

  close(): void {
    this.#stopped.abort();
    this.#registry.close();
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#stopped.signal.aborted; ) {
      let pause = (this.settings.leaseTtl / 3) * (0.9 + 0.2 * Math.random());
      try {
        if (this.#isRegistered) {
          await this.#renew();
        } else if (this.#isLeaving) {
          return;
        } else {
          await this.#register();
        }
        failures = 0;
      } catch (error) {
        this.#note(Fault.from(error));
        pause = Math.random() * Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** Math.min(failures++, 10));
      }
      await sleep(pause, undefined, { signal: this.#stopped.signal }).catch(() => {});
    }
  }

  async #register(): Promise<void> {
    const { ownerToken, ownerKey, leaseTtl, log } = this.settings;
    const published = PublishManifestRequest.create({ ownerKey, instanceId: this.identity.instanceId });
    published.manifest = this.manifest;
    await this.#ask(this.#registry.publishManifest, published);
    const registered = RegisterInstanceRequest.create({ ownerToken, ownerKey, ttl: durationOf(leaseTtl) });
    registered.instance = this.instance;
    const answer = await this.#ask(this.#registry.registerInstance, registered);
    const incarnation = answer.instance?.incarnation ?? 0n;
    this.identity.registered(incarnation);
    this.#isRegistered = true;
    this.#reason = undefined;
    log("info", "registered", { instance_id: this.identity.instanceId, incarnation });
    if (!this.#isFirst) {
      this.onIncarnation();
    }
    this.#isFirst = false;
    this.#resolveFirst();
    if (this.#isLeaving) {
      await this.#farewell(true); // it was on its way when the host began to drain
    }
  }

  async #renew(): Promise<void> {
    const request = RenewLeaseRequest.create({
      instanceId: this.identity.instanceId,
      incarnation: this.identity.incarnation,
      ownerToken: this.settings.ownerToken,
    });
    request.load = this.load.report();
    await this.#ask(this.#registry.renewLease, request, Math.min(REGISTRY_DEADLINE, this.settings.leaseTtl / 3));
  }

  async #farewell(drain: boolean): Promise<void> {
    const request = DeregisterInstanceRequest.create({
      instanceId: this.identity.instanceId,
      incarnation: this.identity.incarnation,
      ownerToken: this.settings.ownerToken,
      drain,
    });
    try {
      await this.#ask(this.#registry.deregisterInstance, request, FAREWELL_DEADLINE);
    } catch (error) {
      this.settings.log("warn", "the registry did not hear the farewell", { error: Fault.from(error) });
    }
  }

  #ask<Request, Answer>(
    method: Method<Request, Answer>,
    request: Request,
    within: number = REGISTRY_DEADLINE,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + within };
      method.call(this.#registry, request, new Metadata(), options, (error, answer) =>
        error === null ? resolve(answer) : reject(error),
      );
    });
  }

  #note(error: unknown): void {
    const reason = Fault.is(error) ? error.reason : "";
    if (reason === "INSTANCE_OWNED_BY_OTHER" || reason === "LEASE_NOT_FOUND" || reason === "STALE_INCARNATION") {
      this.#isRegistered = false;
    }
    if (!this.#isRegistered && Fault.is(error) && this.#isForGood(error)) {
      const { instanceId } = this.identity;
      this.#giveUp(new Error(`cannot register ${instanceId} at ${this.settings.registry}: ${error.message}`));
    }
    const isNews = reason !== this.#reason || performance.now() - this.#saidAt > REMINDER;
    this.#reason = reason;
    if (isNews && !this.#stopped.signal.aborted) {
      this.#saidAt = performance.now();
      const doing = this.#isRegistered ? "renew the lease" : "register";
      this.settings.log("warn", `cannot ${doing}, trying again`, { error });
    }
  }

  /** Whether the same request meets the same refusal however often it is repeated. */
  #isForGood(fault: Fault): boolean {
    if (fault.reason === "INSTANCE_OWNED_BY_OTHER") {
      return this.#holderLives(fault.metadata);
    }
    const codes = [Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED];
    return fault.reason === "MANIFEST_CONFLICT" || codes.includes(fault.code);
  }

  /**
   * Whether who holds the id has done something since it was last seen; one that is dead has left a lease that will run
   * out.
   */
  #holderLives(said: Readonly<Record<string, string>>): boolean {
    const now = [numberIn(said.incarnation), numberIn(said.renewals)] as const;
    const before = this.#holder;
    this.#holder = now;
    return before !== undefined && (now[0] > before[0] || (now[0] === before[0] && now[1] > before[1]));
  }
}

function numberIn(text: string | undefined): bigint {
  return text !== undefined && /^\d+$/.test(text) ? BigInt(text) : 0n;
}
