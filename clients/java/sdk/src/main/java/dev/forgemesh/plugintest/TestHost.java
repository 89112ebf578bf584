package dev.forgemesh.plugintest;

import dev.forgemesh.FaultException;
import dev.forgemesh.Payload;
import dev.forgemesh.api.plugin.v1.Invocation;
import dev.forgemesh.api.plugin.v1.InvocationResult;
import dev.forgemesh.api.plugin.v1.InvokeRequest;
import dev.forgemesh.api.plugin.v1.PluginServiceGrpc;
import dev.forgemesh.plugin.PluginHost;
import dev.forgemesh.plugin.Settings;
import dev.forgemesh.plugin.UnservableException;
import io.grpc.Channel;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.util.Map;

/** A plugin that is served for a test, on ports of this machine. */
public final class TestHost implements AutoCloseable {
  private final PluginHost host;
  private final ManagedChannel channel;

  private TestHost(PluginHost host) throws UnservableException, InterruptedException {
    this.host = host;
    this.channel =
        Grpc.newChannelBuilder(host.address(), InsecureChannelCredentials.create()).build();
  }

  /** Serves the plugin until it is closed, as the instance "test". */
  public static TestHost serve(Object plugin) {
    Map<String, String> settings =
        Map.of("FORGEMESH_HOST_INSTANCE_ID", "test", "FORGEMESH_HOST_GRACE", "60");
    PluginHost host = PluginHost.start(plugin, Settings.of(settings, "test"));
    try {
      return new TestHost(host);
    } catch (UnservableException | InterruptedException refused) {
      throw new IllegalStateException(refused);
    }
  }

  /** The connection to it, for PluginService and health. */
  public Channel channel() {
    return channel;
  }

  /** The host itself. */
  public PluginHost host() {
    return host;
  }

  /**
   * Makes one call with an input as JSON, and reads the output.
   *
   * @throws FaultException if the operation fails
   */
  public <T> T call(String operation, Object input, Class<T> output) {
    Invocation invocation =
        Invocation.newBuilder()
            .setOperation(operation)
            .setInput(Payload.of(input).message())
            .setAttempt(1)
            .setStepPath("step")
            .setIdempotencyKey("test/step")
            .build();
    InvocationResult result;
    try {
      result =
          PluginServiceGrpc.newBlockingStub(channel)
              .invoke(InvokeRequest.newBuilder().setInvocation(invocation).build())
              .getResult();
    } catch (StatusRuntimeException thrown) {
      throw FaultException.of(thrown);
    }
    if (result.hasFailure()) {
      throw FaultException.of(result.getFailure());
    }
    return Payload.of(result.getOutput()).as(output);
  }

  /** Ends the plugin as its supervisor does. */
  @Override
  public void close() {
    try {
      host.close();
    } catch (UnservableException failed) {
      throw new IllegalStateException(failed);
    } finally {
      channel.shutdownNow();
    }
  }
}
