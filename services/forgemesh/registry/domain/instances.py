"""The registered instances as a value: what a request changes, and what is true after a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from forgemesh.faults.registry import InstanceOwnedByOther, LeaseNotFound, StaleIncarnation
from forgemesh.registry.domain.changes import Change, Changed, Gone, GoneReason
from forgemesh.registry.domain.instance import Claim, Instance, Registration, Revision, State
from forgemesh.registry.domain.manifest import Key


@dataclass(frozen=True, slots=True)
class Instances:
    """
    Every registration at one revision.

    The methods that are named for requests only say what would change; `after` gives the value with the change in it.
    The revision at which a registration appears is its incarnation: so incarnations of an instance grow for ever,
    whatever it does between, without a record of those that are gone.
    """

    epoch: int
    revision: int = 0
    registrations: Mapping[str, Registration] = field(default_factory=dict)

    @property
    def position(self) -> Revision:
        """Where this value stands in the registry's history."""
        return Revision(self.epoch, self.revision)

    def page(self, plugin_id: str, after: str, size: int) -> tuple[Sequence[Registration], bool]:
        """Up to `size` registrations with ids greater than `after`, by id, and whether there are more."""
        found = sorted(
            instance_id
            for instance_id, registration in self.registrations.items()
            if instance_id > after and plugin_id in ("", registration.instance.plugin_id)
        )
        return [self.registrations[instance_id] for instance_id in found[:size]], len(found) > size

    def register(
        self,
        wanted: Instance,
        owner: bytes,
        ttl: float,
        *,
        alive: bool,
        at: float,
        renewals: int = 0,
        quarantine: str = "",
        manifest_digest: str = "",
    ) -> Changed:
        """
        A new incarnation, in quarantine for a reason if there is one; raises InstanceOwnedByOther while the present
        one, whose lease was extended `renewals` times, is `alive` and of another owner.
        """
        present = self.registrations.get(wanted.instance_id)
        if present is not None and alive and present.owner != owner:
            raise _owned(present, renewals)
        revision = self.revision + 1
        registration = Registration(
            instance=wanted,
            incarnation=revision,
            owner=owner,
            ttl=ttl,
            registered_at=at,
            quarantine=quarantine,
            manifest_digest=manifest_digest,
        )
        return Changed(revision, registration)

    def renewable(self, claim: Claim, *, alive: bool) -> Registration:
        """The claimed registration; raises LeaseNotFound, StaleIncarnation or InstanceOwnedByOther."""
        present = self.registrations.get(claim.instance_id)
        if present is None or not alive:
            raise LeaseNotFound(claim.instance_id)
        return _claimed(present, claim)

    def drain(self, claim: Claim) -> Changed | None:
        """The claimed instance takes nothing new; None if that is so already, or if it is gone."""
        present = self.registrations.get(claim.instance_id)
        if present is None or _claimed(present, claim).instance.state is State.DRAINING:
            return None
        draining = replace(present, instance=replace(present.instance, state=State.DRAINING))
        return Changed(self.revision + 1, draining)

    def end(self, claim: Claim) -> Gone | None:
        """The claimed registration ends; None if it is gone already."""
        present = self.registrations.get(claim.instance_id)
        if present is None:
            return None
        incarnation = _claimed(present, claim).incarnation
        return Gone(self.revision + 1, claim.instance_id, incarnation, GoneReason.DEREGISTERED)

    def expire(self, instance_ids: Iterable[str]) -> Sequence[Gone]:
        """The registrations end, one revision each."""
        return [
            Gone(revision, instance_id, self.registrations[instance_id].incarnation, GoneReason.EXPIRED)
            for revision, instance_id in enumerate(instance_ids, start=self.revision + 1)
        ]

    def quarantine(self, key: Key, reason: str) -> Sequence[Changed]:
        """The instances of a plugin version are out of use for a reason or, if that is empty, back in use."""
        concerned = [
            one
            for one in self.registrations.values()
            if (one.instance.plugin_id, one.instance.plugin_version) == key and one.quarantine != reason
        ]
        return [
            Changed(revision, replace(registration, quarantine=reason))
            for revision, registration in enumerate(concerned, start=self.revision + 1)
        ]

    def suspect(self, instance_ids: Iterable[str], *, suspect: bool, ahead: int = 0) -> Sequence[Changed]:
        """What is not so yet turns suspect, or is no longer; the first change follows `ahead` others."""
        changing = [one for one in instance_ids if self.registrations[one].suspect is not suspect]
        return [
            Changed(revision, replace(self.registrations[instance_id], suspect=suspect))
            for revision, instance_id in enumerate(changing, start=self.revision + ahead + 1)
        ]

    def after(self, changes: Sequence[Change]) -> Instances:
        """What is true once the changes, which follow this revision, have happened."""
        registrations = dict(self.registrations)
        revision = self.revision
        for change in changes:
            assert change.revision == revision + 1
            revision = change.revision
            match change:
                case Changed(registration=registration):
                    registrations[change.instance_id] = registration
                case Gone(instance_id=instance_id):
                    del registrations[instance_id]
        return replace(self, revision=revision, registrations=registrations)


def _claimed(present: Registration, claim: Claim) -> Registration:
    if present.incarnation != claim.incarnation:
        raise StaleIncarnation(claim.instance_id, claim.incarnation, present.incarnation)
    if present.owner != claim.owner:
        raise _owned(present)
    return present


def _owned(present: Registration, renewals: int = 0) -> InstanceOwnedByOther:
    address, incarnation = present.instance.address, present.incarnation
    return InstanceOwnedByOther(
        present.instance.instance_id, address=address, incarnation=incarnation, renewals=renewals
    )
