"""Questions about rights and persons: whoever has the token is the cluster's administrator."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
USER = "kubernetes-admin"
GROUPS = ("system:masters", "system:authenticated")


def answered(review: Object) -> Object:
    """A review with its status."""
    kind = review["kind"]
    user = {"username": USER, "groups": list(GROUPS)}
    status: Object
    if kind == "SelfSubjectReview":
        status = {"userInfo": user}
    elif kind == "TokenReview":
        status = {"authenticated": True, "user": user}
    elif kind == "SelfSubjectRulesReview":
        every = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        urls = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
        status = {"resourceRules": every, "nonResourceRules": urls, "incomplete": False}
    else:
        status = {"allowed": True, "reason": "every user of this API is its administrator"}
    review.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    return {**review, "status": status}
