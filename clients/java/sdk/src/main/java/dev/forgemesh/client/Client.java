package dev.forgemesh.client;

import dev.forgemesh.Payload;
import dev.forgemesh.api.orchestrator.v1.Definition;
import dev.forgemesh.api.orchestrator.v1.GetExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.GetMeshRequest;
import dev.forgemesh.api.orchestrator.v1.OrchestratorServiceGrpc;
import dev.forgemesh.api.orchestrator.v1.OrchestratorServiceGrpc.OrchestratorServiceBlockingStub;
import dev.forgemesh.api.orchestrator.v1.RegisterDefinitionRequest;
import dev.forgemesh.api.orchestrator.v1.StartExecutionRequest;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import tools.jackson.core.type.TypeReference;

/**
 * A caller's connection to a mesh. It may be used by any number of threads at once.
 *
 * <p>What is refused is a {@link dev.forgemesh.FaultException}. A deadline of {@link #within} or of
 * the current gRPC context bounds each call, whatever it waits for, and then it is a {@link
 * DeadlineException}.
 */
public final class Client implements AutoCloseable {
  static final Duration CALL_DEADLINE = Duration.ofSeconds(10);
  private static final Duration PATIENCE = Duration.ofSeconds(30);
  private static final Duration MOST_WAITING = Duration.ofMinutes(10);
  private static final int MESSAGE_LIMIT = 4 << 20;
  private static final int KEEPALIVE_SECONDS = 20;
  private static final int KEEPALIVE_TIMEOUT_SECONDS = 10;

  private final ManagedChannel channel;
  private final OrchestratorServiceBlockingStub orchestrator;
  private final String namespace;
  private final Duration patience;
  private final Deadline deadline;

  private Client(ManagedChannel channel, String namespace, Duration patience, Deadline deadline) {
    this.channel = channel;
    this.orchestrator = OrchestratorServiceGrpc.newBlockingStub(channel);
    this.namespace = namespace;
    this.patience = patience;
    this.deadline = deadline;
  }

  /**
   * Connects to the mesh of FORGEMESH_ADDRESS, of the nearest .forgemesh folder, or of this
   * machine.
   */
  public static Client connect() {
    return builder().connect();
  }

  /** Connects to an orchestrator at host:port. */
  public static Client connect(String address) {
    return builder().address(address).connect();
  }

  /** More to say about the connection. */
  public static Builder builder() {
    return new Builder();
  }

  /** How to connect. */
  public static final class Builder {
    private String address = "";
    private String namespace = "";
    private Duration patience = PATIENCE;
    private ChannelCredentials credentials = InsecureChannelCredentials.create();
    private UnaryOperator<ManagedChannelBuilder<?>> more = UnaryOperator.identity();

    private Builder() {}

    /** host:port of the orchestrator; without it the mesh is looked for. */
    public Builder address(String address) {
      this.address = address;
      return this;
    }

    /** Where workflows and executions live; "default" without it. */
    public Builder namespace(String namespace) {
      this.namespace = namespace;
      return this;
    }

    /**
     * For how long a call that may be repeated waits for an orchestrator that is away; 30 seconds
     * without it.
     */
    public Builder patience(Duration patience) {
      this.patience = patience;
      return this;
    }

    /** Makes the connection secure, by {@code TlsChannelCredentials} for example. */
    public Builder credentials(ChannelCredentials credentials) {
      this.credentials = credentials;
      return this;
    }

    /** Changes the channel as gRPC allows it, by interceptors for example. */
    public Builder channel(UnaryOperator<ManagedChannelBuilder<?>> more) {
      this.more = more;
      return this;
    }

    /** Makes the client. Nothing is sent before the first call. */
    public Client connect() {
      ManagedChannelBuilder<?> made =
          Grpc.newChannelBuilder(address.isEmpty() ? Addresses.find() : address, credentials)
              .maxInboundMessageSize(MESSAGE_LIMIT)
              .keepAliveTime(KEEPALIVE_SECONDS, TimeUnit.SECONDS)
              .keepAliveTimeout(KEEPALIVE_TIMEOUT_SECONDS, TimeUnit.SECONDS);
      return new Client(more.apply(made).build(), namespace, patience, null);
    }
  }

  /**
   * The same client, each call of which is over when so long has passed from now. It shares the
   * connection.
   */
  public Client within(Duration length) {
    return new Client(
        channel, namespace, patience, Deadline.after(length.toNanos(), TimeUnit.NANOSECONDS));
  }

  /** Ends the connection. Executions go on. */
  @Override
  public void close() {
    channel.shutdownNow();
  }

  /** The connection itself, for services and calls that this class has no method for. */
  public Channel channel() {
    return channel;
  }

  /** Keeps the YAML or JSON text of a workflow. The same content again is the same definition. */
  public Definition register(String source) {
    RegisterDefinitionRequest request =
        RegisterDefinitionRequest.newBuilder().setNamespace(namespace).setSource(source).build();
    return repeated()
        .of(CALL_DEADLINE, until -> stub(until).registerDefinition(request))
        .getDefinition();
  }

  /** Begins an execution; once this returns that is durable. */
  public Execution start(String workflow, Object input) {
    return start(workflow, input, StartOptions.none());
  }

  /**
   * Begins an execution; once this returns that is durable. With a request id it may be repeated,
   * and then waits itself for an orchestrator that is away. The execution joins the trace of the
   * current span of OpenTelemetry.
   */
  public Execution start(String workflow, Object input, StartOptions options) {
    return start(workflow, input, options, Duration.ZERO);
  }

  /**
   * Starts an execution, waits for its end and reads its output; as a {@code Payload} it stays
   * unread.
   */
  public <T> T run(String workflow, Object input, Class<T> output) {
    return run(workflow, input, output, StartOptions.none());
  }

  /**
   * As above, with more to say about its start. What the caller's deadline ends is the waiting
   * alone.
   */
  public <T> T run(String workflow, Object input, Class<T> output, StartOptions options) {
    return start(workflow, input, options, longestWait()).result(output);
  }

  /** As above, for an output of a type with arguments. */
  public <T> T run(String workflow, Object input, TypeReference<T> output, StartOptions options) {
    return start(workflow, input, options, longestWait()).result(output);
  }

  /**
   * A handle of an execution that was started before: the one that has this id now or, as ID@RUN,
   * that run.
   */
  public Execution execution(String id) {
    GetExecutionRequest request =
        GetExecutionRequest.newBuilder().setNamespace(namespace).setExecutionId(id).build();
    return new Execution(
        this,
        repeated().of(CALL_DEADLINE, until -> stub(until).getExecution(request)).getExecution());
  }

  /** Where the services of the mesh listen (host:port), by name. */
  public Map<String, String> mesh() {
    Map<String, String> services = new TreeMap<>();
    repeated()
        .of(CALL_DEADLINE, until -> stub(until).getMesh(GetMeshRequest.getDefaultInstance()))
        .getServicesList()
        .forEach(service -> services.put(service.getName(), service.getAddress()));
    return services;
  }

  private Execution start(String workflow, Object input, StartOptions options, Duration waits) {
    StartExecutionRequest.Builder asked =
        options
            .asked()
            .setNamespace(namespace)
            .setWorkflow(workflow)
            .setWaitMillis(waits.toMillis());
    if (input != null) {
      asked.setInput(Payload.of(input).message());
    }
    StartExecutionRequest request = asked.build();
    Repetition repetition =
        new Repetition(deadline, request.getRequestId().isEmpty() ? Duration.ZERO : patience);
    Metadata trace = traceContext();
    return new Execution(
        this,
        repetition
            .of(
                CALL_DEADLINE.plus(waits),
                until ->
                    stub(until)
                        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(trace))
                        .startExecution(request))
            .getExecution());
  }

  Repetition repeated() {
    return new Repetition(deadline, patience);
  }

  Duration patience() {
    return patience;
  }

  OrchestratorServiceBlockingStub stub(Deadline until) {
    return until == null ? orchestrator : orchestrator.withDeadline(until);
  }

  Deadline deadline() {
    return deadline;
  }

  /** Leaves a caller with a deadline the time to hear that the execution goes on without it. */
  private Duration longestWait() {
    long left = MOST_WAITING.toNanos();
    for (Deadline bound : new Deadline[] {deadline, Context.current().getDeadline()}) {
      if (bound != null) {
        left =
            Math.min(
                left, bound.timeRemaining(TimeUnit.NANOSECONDS) - Duration.ofSeconds(1).toNanos());
      }
    }
    return Duration.ofNanos(Math.max(0, left));
  }

  private static Metadata traceContext() {
    Metadata headers = new Metadata();
    W3CTraceContextPropagator.getInstance()
        .inject(
            io.opentelemetry.context.Context.current(),
            headers,
            (carrier, key, value) ->
                carrier.put(Metadata.Key.of(key, Metadata.ASCII_STRING_MARSHALLER), value));
    return headers;
  }
}
