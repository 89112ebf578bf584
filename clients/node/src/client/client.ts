/** A caller's connection to a mesh. */

import { type ChannelCredentials, type ChannelOptions, credentials } from "@grpc/grpc-js";
import type { Definition } from "../api/forgemesh/api/orchestrator/v1/definition.js";
import type { IdConflictPolicy, IdReusePolicy } from "../api/forgemesh/api/orchestrator/v1/orchestrator_service.js";
import {
  GetExecutionRequest,
  OrchestratorServiceClient,
  RegisterDefinitionRequest,
  StartExecutionRequest,
} from "../api/forgemesh/api/orchestrator/v1/orchestrator_service.js";
import { Payload } from "../payload.js";
import { findAddress } from "./address.js";
import { type Bounds, type CallOptions, within } from "./bounds.js";
import { Execution } from "./execution.js";
import { CALL_DEADLINE, repeated } from "./repeat.js";

const MESSAGE_LIMIT = 4 << 20;
const PATIENCE = 30_000;
/** Milliseconds for which an answer may wait for the end of what it starts. */
const MOST_WAITING = 600_000;

export interface ClientOptions {
  /** host:port of the orchestrator; without it, `findAddress` says where that is. */
  address?: string;
  /** Where workflows and executions live; "default" without it. */
  namespace?: string;
  /** Milliseconds for which a call that may be repeated waits for an orchestrator that is away; 30,000 without it. */
  patience?: number;
  /** Makes the connection secure. */
  credentials?: ChannelCredentials;
  /** More options of gRPC's own. */
  channel?: ChannelOptions;
}

export interface StartOptions extends CallOptions {
  /** Names the execution: 1 to 200 letters, digits, ".", "_" or "-". Without it one is made up. */
  executionId?: string;
  /** Names the request: a repetition with the same id gets the same execution and starts nothing. */
  requestId?: string;
  /** That of the workflow; without it the highest one is started. */
  version?: string;
  /** Executions with a higher one go first where they compete for an instance, from -1000 to 1000. */
  priority?: number;
  /** Starts it so that nothing of it runs until it is resumed. */
  paused?: boolean;
  /** Whether the id of an execution that has ended may be used again. */
  idReuse?: IdReusePolicy;
  /** What to do if an execution of the same id is open. */
  idConflict?: IdConflictPolicy;
  /** A signal that comes with the start; an id tells a repetition of the same signal. */
  signalWithStart?: { name: string; payload?: unknown; id?: string };
}

/** Starts, watches and steers workflows. It may be used by any number of callers at once; nothing is sent before the first call. */
export class Client {
  /** The orchestrator itself, for calls that this class has no method for. */
  readonly orchestrator: OrchestratorServiceClient;
  readonly namespace: string;
  readonly patience: number;

  constructor(options: ClientOptions = {}) {
    this.namespace = options.namespace ?? "";
    this.patience = options.patience ?? PATIENCE;
    this.orchestrator = new OrchestratorServiceClient(
      options.address ?? findAddress(),
      options.credentials ?? credentials.createInsecure(),
      {
        "grpc.max_receive_message_length": MESSAGE_LIMIT,
        "grpc.max_send_message_length": MESSAGE_LIMIT,
        "grpc.keepalive_time_ms": 20_000,
        "grpc.keepalive_timeout_ms": 10_000,
        ...options.channel,
      },
    );
  }

  /** Ends the connection. Executions go on. */
  close(): void {
    this.orchestrator.close();
  }

  /** Keeps the YAML or JSON text of a workflow. The same content again is the same definition. */
  async register(source: string, options: CallOptions = {}): Promise<Definition | undefined> {
    const request = RegisterDefinitionRequest.fromPartial({ namespace: this.namespace, source });
    const method = this.orchestrator.registerDefinition.bind(this.orchestrator);
    return (await within(options, (bounds) => repeated(method, request, bounds, this))).definition;
  }

  /**
   * Begins an execution; once this resolves that is durable. With a `requestId` it may be repeated, and then waits itself
   * for an orchestrator that is away.
   *
   * The execution joins the trace of the active span.
   */
  async start(workflow: string, input?: unknown, options: StartOptions = {}): Promise<Execution> {
    return await within(options, (bounds) => this.#start(workflow, input, options, bounds, 0));
  }

  /**
   * Starts an execution, waits for its end and returns its output. An execution that ends badly is an ExecutionFailed. What
   * a timeout or a signal ends is the waiting alone.
   */
  async run<Output = unknown>(workflow: string, input?: unknown, options: StartOptions = {}): Promise<Output> {
    return await within(options, async (bounds) => {
      const waits = Math.max(0, Math.min(MOST_WAITING, bounds.left - 1000));
      const execution = await this.#start(workflow, input, options, bounds, waits);
      return (await execution.result({ signal: bounds.signal })) as Output;
    });
  }

  /** A handle of an execution that was started before: the one that has this id now or, as ID@RUN, that run. */
  async execution(id: string, options: CallOptions = {}): Promise<Execution> {
    const request = GetExecutionRequest.fromPartial({ namespace: this.namespace, executionId: id });
    const method = this.orchestrator.getExecution.bind(this.orchestrator);
    return new Execution(this, (await within(options, (bounds) => repeated(method, request, bounds, this))).execution);
  }

  /** Where the services of the mesh listen (host:port), by name. */
  async services(options: CallOptions = {}): Promise<Map<string, string>> {
    const method = this.orchestrator.getMesh.bind(this.orchestrator);
    const answer = await within(options, (bounds) => repeated(method, {}, bounds, this));
    return new Map(answer.services.map((service) => [service.name, service.address]));
  }

  async #start(
    workflow: string,
    input: unknown,
    options: StartOptions,
    bounds: Bounds,
    waits: number,
  ): Promise<Execution> {
    const signal = options.signalWithStart;
    const request = StartExecutionRequest.create({
      namespace: this.namespace,
      workflow,
      workflowVersion: options.version ?? "",
      executionId: options.executionId ?? "",
      requestId: options.requestId ?? "",
      priority: options.priority ?? 0,
      paused: options.paused ?? false,
      idReusePolicy: options.idReuse ?? 0,
      idConflictPolicy: options.idConflict ?? 0,
      waitMillis: BigInt(Math.floor(waits)),
    });
    request.input = input === undefined ? undefined : Payload.of(input).toMessage();
    request.signal = signal && {
      name: signal.name,
      payload: Payload.of(signal.payload ?? null).toMessage(),
      signalId: signal.id ?? "",
    };
    const repetition = {
      patience: request.requestId === "" ? 0 : this.patience,
      tryWithin: CALL_DEADLINE + waits,
    };
    const method = this.orchestrator.startExecution.bind(this.orchestrator);
    return new Execution(this, (await repeated(method, request, bounds, repetition)).execution);
  }
}

/** Makes a client. */
export function connect(options: ClientOptions = {}): Client {
  return new Client(options);
}
