package dev.forgemesh.tests;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import io.grpc.CallOptions;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** A client with nothing but grpc-java in it; tests/stock_client.py says what it reads and writes. */
public final class XdsClient {
  private static final MethodDescriptor.Marshaller<byte[]> AS_IS =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] value) {
          return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
          try {
            return stream.readAllBytes();
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        }
      };

  private static final MethodDescriptor<byte[], byte[]> WHO =
      MethodDescriptor.newBuilder(AS_IS, AS_IS)
          .setType(MethodDescriptor.MethodType.UNARY)
          .setFullMethodName("test.Who/Who")
          .build();

  private XdsClient() {}

  /** Runs until its input ends. */
  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel = Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create()).build();
    Gson gson = new Gson();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(gson.toJson(answers(channel, gson.fromJson(line, JsonObject.class))));
    }
    channel.shutdownNow();
  }

  private static Map<String, Integer> answers(ManagedChannel channel, JsonObject asked) throws InterruptedException {
    Map<String, Integer> found = new TreeMap<>();
    ExecutorService workers = Executors.newFixedThreadPool(asked.get("concurrent").getAsInt());
    for (int number = 0; number < asked.get("calls").getAsInt(); number++) {
      int own = number;
      workers.execute(
          () -> {
            String one = answer(channel, asked, own);
            synchronized (found) {
              found.merge(one, 1, Integer::sum);
            }
          });
    }
    workers.shutdown();
    workers.awaitTermination(1, TimeUnit.DAYS);
    return found;
  }

  private static String answer(ManagedChannel channel, JsonObject asked, int number) {
    Metadata headers = new Metadata();
    for (var header : asked.getAsJsonObject("headers").entrySet()) {
      headers.put(
          Metadata.Key.of(header.getKey(), Metadata.ASCII_STRING_MARSHALLER),
          header.getValue().getAsString().replace("%i", Integer.toString(number)));
    }
    CallOptions options =
        CallOptions.DEFAULT.withDeadlineAfter((long) (asked.get("seconds").getAsDouble() * 1000), TimeUnit.MILLISECONDS);
    if (asked.get("wait").getAsBoolean()) {
      options = options.withWaitForReady();
    }
    try {
      var named = ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers));
      return new String(ClientCalls.blockingUnaryCall(named, WHO, options, new byte[0]), StandardCharsets.UTF_8);
    } catch (StatusRuntimeException error) {
      return error.getStatus().getCode().name();
    }
  }
}
