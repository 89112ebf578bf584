package dev.forgemesh.client;

import dev.forgemesh.FaultException;
import dev.forgemesh.api.orchestrator.v1.Execution;
import dev.forgemesh.api.orchestrator.v1.ExecutionEvent;
import dev.forgemesh.api.orchestrator.v1.WatchExecutionRequest;
import dev.forgemesh.api.orchestrator.v1.WatchExecutionResponse;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Collections;
import java.util.Deque;
import java.util.Iterator;
import java.util.NoSuchElementException;

/**
 * The events of an execution, each exactly once and in order, up to its last one; for one thread.
 *
 * <p>A broken stream is opened again where it broke, for as long as the client's patience lasts.
 */
public final class Events
    implements Iterable<ExecutionEvent>, Iterator<ExecutionEvent>, AutoCloseable {
  private final Client client;
  private final Execution execution;
  private final Repetition repetition;
  private final Deque<ExecutionEvent> heard = new ArrayDeque<>();
  private Context.CancellableContext context;
  private Iterator<WatchExecutionResponse> stream = Collections.emptyIterator();
  private long next;
  private int breaks;
  private long since = System.nanoTime();
  private boolean ended;

  Events(Client client, Execution execution, long from) {
    this.client = client;
    this.execution = execution;
    this.repetition = client.repeated();
    this.next = from;
  }

  @Override
  public Iterator<ExecutionEvent> iterator() {
    return this;
  }

  @Override
  public boolean hasNext() {
    while (heard.isEmpty() && !ended) {
      try {
        listen();
      } catch (StatusRuntimeException thrown) {
        goOn(FaultException.of(thrown));
      }
    }
    return !heard.isEmpty();
  }

  @Override
  public ExecutionEvent next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the execution has ended");
    }
    ExecutionEvent event = heard.remove();
    next = event.getSequence() + 1;
    return event;
  }

  /** Listens no more. */
  @Override
  public void close() {
    ended = true;
    hangUp();
  }

  private void listen() {
    if (context == null) {
      context = Context.current().withCancellation();
      Context before = context.attach();
      try {
        stream = opened();
      } finally {
        context.detach(before);
      }
    }
    if (!stream.hasNext()) {
      close();
      return;
    }
    for (ExecutionEvent event : stream.next().getEventsList()) {
      if (event.getSequence() >= next) {
        heard.add(event);
        breaks = 0;
        since = System.nanoTime();
      }
    }
  }

  private Iterator<WatchExecutionResponse> opened() {
    return client
        .stub(client.deadline())
        .watchExecution(
            WatchExecutionRequest.newBuilder()
                .setNamespace(execution.getNamespace())
                .setExecutionId(execution.getExecutionId())
                .setRunId(execution.getRunId())
                .setFromSequence(next)
                .build());
  }

  private void goOn(FaultException broken) {
    hangUp();
    repetition.refuseIfOver(broken);
    Duration pause = Repetition.pauseAfter(breaks, broken);
    long lasted = System.nanoTime() - since + pause.toNanos();
    if (!Repetition.passes(broken) || lasted > client.patience().toNanos()) {
      ended = true;
      throw broken;
    }
    breaks++;
    repetition.sleep(pause, broken);
  }

  private void hangUp() {
    if (context != null) {
      context.cancel(null);
      context = null;
    }
  }
}
