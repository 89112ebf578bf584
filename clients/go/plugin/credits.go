package plugin

// creditPool has the calls that a host takes at a time, its queue included, shared over all sessions.
//
// A session *holds* what its caller may still send and what it has in the host. Each gets its share at once, when it comes
// and when another one leaves. Credits are never taken from a caller: one above its share gives back as its calls finish.
type creditPool int

// share is what each of so many sessions may hold for certain; never less than one call.
func (size creditPool) share(sessions int) int { return max(1, int(size)/max(1, sessions)) }

// grant is what a session that holds `held`, of which `finished` calls have ended, gets anew while the others hold
// `others`.
func (size creditPool) grant(held, finished, others, sessions int) int {
	left := held - finished
	free := int(size) - others - left
	return max(0, size.share(sessions)-left, min(finished, free))
}
