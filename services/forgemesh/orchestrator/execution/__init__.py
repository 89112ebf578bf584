"""The history of an execution: facts, the state that follows from them, and what has to happen next."""
