"""What the console says after a form has done its work."""

from __future__ import annotations

DONE: dict[str, str] = {
    "domain_added": "The tracking domain is there. Set the DNS record below, then press Check now.",
    "domain_checked": "The domain was checked just now.",
    "domain_checking": "The answer takes longer than eight seconds. Load the page again in a minute.",
    "domain_unchecked": "Nothing was looked up, because dnspython is not installed here.",
    "domain_used": "New mail of this sender carries its links on the domain as soon as the domain is verified.",
    "domain_left": "New mail of this sender no longer has links on the domain. Links that are out go on working.",
    "domain_removed": "The tracking domain is removed.",
    "settings_saved": "Saved. The change counts for mail that is sent from now on, within five seconds everywhere.",
    "settings_reset": "The app’s configuration decides for the account again.",
    "settings_paused": "Measuring is paused.",
    "settings_resumed": "Measuring goes on.",
    "tag_added": "Mail may carry the tag.",
    "tag_retired": "Mail with the tag is refused from now on. Its figures stay.",
    "person_changed": "Saved. The next mail obeys it.",
    "person_stopped": "No more mail goes to this address.",
    "person_erased": "The person is erased.",
    "suppression_added": "No more mail goes to this address.",
    "suppression_stood": "This address was suppressed already. Nothing has changed.",
    "suppression_removed": "Mail to this address goes out again.",
    "import_cancelled": "The import is cancelled. What it has added so far stays.",
    "import_dropped": "The file is gone. Nothing of it was imported.",
}
"""Each by a short name, which stands in the address of the page: so nobody can make the console say another thing."""
