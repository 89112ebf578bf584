"""The orchestrator's services over gRPC, and an exported execution told event by event."""
