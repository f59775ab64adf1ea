"""Signing in, where ``[auth]`` of ``secrets.toml`` sets it up; else nobody is asked."""

from __future__ import annotations

import streamlit as st


def user() -> str:
    """Name of whoever is signed in, here or at a proxy; empty where nobody is."""
    claims = (st.user.get(claim) for claim in ("name", "preferred_username", "email"))
    return next((claim for claim in claims if isinstance(claim, str) and claim), "")


def needed() -> bool:
    """Whether the page has to stay hidden until somebody signs in."""
    return not st.user.get("is_logged_in", True)


def ask() -> None:
    """The button, and nothing else."""
    st.title("Cost per inference", anchor=False)
    st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login)
    # The provider sends people back to the first page, without what was in the address.
    st.caption("If you came by a link, open it once more when you are signed in.")


def sign_out() -> None:
    """Who is signed in, with a way out; nothing where nobody has to be."""
    if "is_logged_in" in st.user:
        st.text(user())
        st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)
