"""One task for each member of a fleet: a bug in one is no matter of the others."""

import asyncio

from forgemesh.balancer.adapters.followers import Followers
from forgemesh.balancer.domain.fleet import Member
from tests.unit.balancer.members import member


async def test_a_bug_in_following_one_member_ends_no_other_and_begins_again() -> None:
    begun = {name: [asyncio.Event() for _ in range(3)] for name in ("sick", "well")}
    times = dict.fromkeys(begun, 0)

    async def follow(one: Member) -> None:
        begun[one.instance_id][times[one.instance_id]].set()
        times[one.instance_id] += 1
        if one.instance_id == "sick" and times["sick"] < 3:
            raise LookupError("planted")
        await asyncio.Event().wait()

    async with asyncio.timeout(60), Followers("test") as followers:
        followers.follow([member("sick"), member("well")], follow)
        await begun["sick"][2].wait()

        assert times == {"sick": 3, "well": 1}
