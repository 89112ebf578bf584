"""The balancer's feed as messages: what both of its ends read and write."""
