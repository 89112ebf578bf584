"""Definitions that several tests run."""

CALL = "call: {plugin: p, operation: o}"
ONE = f"name: one\nsteps:\n  - {{id: x, {CALL}, input: '${{input}}'}}\noutput: '${{steps.x.output}}'\n"
SAGA = """
name: order
steps:
  - id: reserve
    call: {plugin: shop.stock@^2.3, operation: reserve}
    input: {sku: "${input.sku}"}
    compensate: {plugin: shop.stock@^2.3, operation: release, input: {id: "${steps.reserve.output.id}"}}
  - id: pack
    call: {plugin: shop.stock@>=1 <2, operation: pack}
    compensate: {plugin: shop.stock, operation: unpack}
  - id: pay
    call: {plugin: shop.payment, operation: charge}
"""
APPROVAL = """
name: approval
steps:
  - id: decide
    wait: {signal: approve, timeout: 2d}
output: "${steps.decide.output}"
"""


def retried(**timeouts: str) -> str:
    said = ", ".join(f"{name}: {value}" for name, value in timeouts.items())
    return (
        "name: retried\nsteps:\n"
        f"  - {{id: x, {CALL}, timeouts: {{{said}}}, retry: {{max_attempts: 3, initial: 10m, max_interval: 1h}}}}\n"
        "output: '${steps.x.output}'\n"
    )
