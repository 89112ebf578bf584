"""One workflow with every key that the language has."""

EVERY_KEY = """\
name: every-key
version: 1.2.3
description: "Yes: all of them, # even \\u2028 this one."
input: {order: object, count: integer, express: boolean?}
timeout: 1h
vars: {total: 0, largest: 12345678901234567890123, ratio: 1.0, nothing: null, list: [], "text": "yes"}
max_concurrency: 0
concurrency: {key: "${input.order.customer}", limit: 2, on_conflict: cancel_newest}
steps:
  - id: join
    after: [left, right]
    trigger: all_done
    when: input.count > 1 && vars.total < 10.5
    set: {total: "${vars.total + 1}", largest: "${steps.join.output}"}
    call: {plugin: "shop.stock@>=1 <3", operation: reserve}
    input: {order: "${input.order}", literal: "$${x}", deep: [{a: 1.0, b: [true, null, -0.5]}]}
    timeouts: {start_to_close: 5s, schedule_to_start: 1m, schedule_to_close: 1h, heartbeat: 500ms}
    retry: {max_attempts: 5, initial: 100ms, coefficient: 1.5, max_interval: 1s, non_retryable: [A, B]}
    idempotent: false
    in_doubt: retry
    on_exhausted: incident
    compensate:
      interface: stock@^1
      operation: release
      select: {must: {region: eu}, prefer: {}}
      input: {id: "${steps.join.output.id}", why: "${error.reason}"}
      retry: {coefficient: 2}
      timeouts: {}
    priority: -1000
    affinity: "${input.order.customer}"
  - id: left
    after: []
    call: {interface: storage, operation: put, select: {must: {}, prefer: {tier: "1"}}}
    retry: {non_retryable: []}
    timeouts: {}
    set: {}
    compensate: {plugin: storage.local, operation: remove}
  - id: right
    trigger: none_failed
    parallel:
      join: {quorum: 1}
      max_concurrency: 2
      merge: last
      branches:
        zeta: [{id: a, call: {plugin: p, operation: o}, set: {total: 1}}]
        alpha: [{id: a, call: {plugin: p, operation: o}, set: {total: 2}}]
  - id: sized
    switch:
      - name: large
        when: input.count > 100
        steps: [{id: x, workflow: {name: bulk, version: 1.0.0}, on_close: abandon}]
      - {when: input.count > 10, steps: [{id: x, workflow: {name: bulk}, retry: {max_attempts: 2}, on_exhausted: fail}]}
      - otherwise: [{id: x, wait: {for: 1.5m}}, {id: y, wait: {until: "${input.order.when}"}}]
    no_match: skip
  - id: each
    map:
      over: [1, "${input.count}"]
      join: all_settled
      tolerate: 12.5%
      max_concurrency: 10
      steps:
        - {id: sign, wait: {signal: signed, timeout: 1d, on_timeout: skip}, trigger: all_done}
        - id: use
          when: index % 2 == 0
          call: {plugin: p, operation: o}
          input: ["${item}", "${index}"]
          cache: {ttl: 10m, key: "${input.count}"}
  - {id: few, map: {over: "${vars.list}", tolerate: 3, steps: [{id: w, wait: {signal: go}}]}, after: [each]}
  - id: again
    loop:
      until: steps.w.status == 'SUCCEEDED' || index > 3
      max_iterations: 5
      delay: 1m
      on_limit: succeed
      steps: [{id: w, wait: {signal: go, timeout: 1h, on_timeout: skip}}]
  - {id: calm, parallel: {join: any, branches: {a: [{id: x, wait: {for: 1s}}]}}}
  - {id: bold, parallel: {join: all, tolerate: 1, merge: error, branches: {a: [{id: x, wait: {for: 1s}}]}}}
output: {total: "${vars.total}", all: "${steps.each.output}"}
"""
