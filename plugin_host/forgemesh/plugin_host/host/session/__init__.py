"""The stream of one caller: calls one way, answers the other, as many as there are credits."""
