/** The host's place at its supervisor: introduced, initialised, ready, and from then on at its service. */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type ClientDuplexStream, credentials } from "@grpc/grpc-js";
import type { Manifest } from "../api/forgemesh/api/plugin/v1/manifest.js";
import type {
  AttachRequest,
  AttachResponse,
  HostReady,
  Initialize,
} from "../api/forgemesh/api/supervisor/v1/attach.js";
import { HostPhase } from "../api/forgemesh/api/supervisor/v1/host.js";
import { SupervisorServiceClient } from "../api/forgemesh/api/supervisor/v1/supervisor_service.js";
import { Code, Fault } from "../fault.js";
import { type Configured, HostFailed } from "./configured.js";
import { cut, textOf } from "./failure.js";
import type { LoadMeter } from "./load.js";
import type { Settings } from "./settings.js";

const PROTOCOL = 1;
const WELCOME_DEADLINE = 10_000;
const LOAD_PERIOD = 1000;
const FIRST_BACKOFF = 100;
const LONGEST_BACKOFF = 1000;
export const SDK = "forgemesh-node/0.1.0";

type Said = NonNullable<AttachRequest["kind"]>;
type Stream = ClientDuplexStream<AttachRequest, AttachResponse>;

/** The stream is opened again when it breaks. */
export class Attachment {
  /** Resolves, as late as that may be, when everything that the plugin needs serves. */
  readonly initialized: Promise<Initialize>;
  /** Resolves with the reason when the supervisor is gone for good. */
  readonly gone: Promise<string>;
  #initialize: (said: Initialize) => void = () => {};
  #lose: (why: string) => void = () => {};
  #stream: Stream | undefined;
  #ended: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  #ready: (() => HostReady) | undefined;
  #run: Configured | undefined;
  #turn: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly settings: Settings,
    readonly manifest: Manifest | undefined,
  ) {
    this.gone = new Promise((resolve) => {
      this.#lose = resolve;
    });
    this.initialized = new Promise((resolve, reject) => {
      this.#initialize = resolve;
      void this.gone.then((why) => reject(new HostFailed(HostPhase.HOST_PHASE_HANDSHAKE, why)));
    });
    this.initialized.catch(() => {});
    void this.#keep();
  }

  /** The host serves: it says so now, and each time the stream is opened again. */
  serving(ready: () => HostReady): void {
    this.#ready = ready;
    this.#say({ $case: "ready", value: ready() });
  }

  /** From now on it does what the supervisor asks of the running plugin, and says every second how busy the host is. */
  obey(run: Configured, load: LoadMeter): void {
    this.#run = run;
    this.#timer = setInterval(() => this.#say({ $case: "load", value: load.report() }), LOAD_PERIOD);
  }

  /** The host cannot go on. */
  fail(phase: HostPhase, reason: string): void {
    this.#say({ $case: "failed", value: { phase, reason: cut(reason) } });
  }

  /** Lets what was said leave, for so long at most, and hangs up. */
  async close(within: number): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    if (this.#stream !== undefined) {
      this.#stream.end(); // the supervisor ends the stream when it has heard all of it
      await Promise.race([this.#ended, sleep(within)]);
      this.#stream?.cancel();
    }
  }

  /** Says something; what is said while the stream is broken is lost. */
  #say(kind: Said): void {
    if (this.#stream !== undefined && !this.#isClosed) {
      this.#stream.write({ kind });
    }
  }

  async #keep(): Promise<void> {
    const patience = this.settings.reattach ? this.settings.reattachFor : Number.POSITIVE_INFINITY;
    let heardAt = performance.now();
    let isWelcome = false;
    for (let failures = 0; !this.#isClosed; failures++) {
      const conversation = this.#converse(() => {
        heardAt = performance.now();
        isWelcome = true;
        failures = 0;
      });
      this.#ended = conversation;
      const error = await conversation;
      if (this.#isClosed) {
        return;
      }
      const bound = isWelcome ? patience : WELCOME_DEADLINE;
      if (isFinal(error) || performance.now() - heardAt > bound) {
        this.#lose(`the supervisor at ${this.#address()} is gone: ${textOf(error)}`);
        return;
      }
      if (failures === 0) {
        this.settings.log("warn", "the stream to the supervisor broke, opening it again", { error });
      }
      await sleep(Math.random() * Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** Math.min(failures, 10)));
    }
  }

  /** Keeps one stream until it breaks, and gives what broke it. */
  #converse(onHeard: () => void): Promise<unknown> {
    const supervisor = new SupervisorServiceClient(this.#address(), credentials.createInsecure());
    const stream = supervisor.attach();
    const impatience = setTimeout(() => stream.cancel(), WELCOME_DEADLINE);
    this.#stream = stream;
    return new Promise((resolve) => {
      const over = (error: unknown) => {
        clearTimeout(impatience);
        this.#stream = undefined;
        supervisor.close();
        resolve(Fault.from(error));
      };
      stream.on("error", over);
      stream.on("end", () => over(new Error("it ended the stream")));
      stream.on("data", (said: AttachResponse) => {
        clearTimeout(impatience);
        onHeard();
        this.#hear(said);
      });
      stream.write({ kind: { $case: "hello", value: this.#hello() } });
    });
  }

  #hear({ kind }: AttachResponse): void {
    switch (kind?.$case) {
      case "welcome":
        if (kind.value.protocol !== PROTOCOL) {
          const spoken = `speaks protocol ${kind.value.protocol}, this host ${PROTOCOL}`;
          this.#lose(`the supervisor at ${this.#address()} ${spoken}`);
        }
        break;
      case "initialize":
        this.#initialize(kind.value);
        break;
      case "configure":
        this.#inTurn(async (run) => ({ $case: "configured", value: await run.configure(kind.value) }));
        break;
      case "saveState":
        this.#inTurn(async (run) => ({ $case: "state", value: await run.save(kind.value) }));
        break;
      default: // suspects: this host keeps no record of running calls, and has none to run alone
    }
  }

  /** One request after the other. */
  #inTurn(answer: (run: Configured) => Promise<Said>): void {
    this.#turn = this.#turn.then(async () => {
      if (this.#run !== undefined) {
        this.#say(await answer(this.#run));
      }
    });
  }

  #hello() {
    return {
      token: this.settings.token,
      instanceId: this.settings.instanceId,
      pid: BigInt(process.pid),
      protocolMin: PROTOCOL,
      protocolMax: PROTOCOL,
      sdk: SDK,
      manifest: this.manifest,
      ready: this.#ready?.(),
    };
  }

  /** That of the supervisor that is there now: one that was started anew may listen elsewhere. */
  #address(): string {
    try {
      return this.settings.supervisorFile === ""
        ? this.settings.supervisor
        : readFileSync(this.settings.supervisorFile, "utf8").trim();
    } catch {
      return this.settings.supervisor;
    }
  }
}

/** Whether the supervisor does not want this process, and asking again changes nothing. */
function isFinal(error: unknown): boolean {
  const codes = [Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED, Code.INVALID_ARGUMENT];
  return Fault.is(error) && codes.includes(error.code);
}
