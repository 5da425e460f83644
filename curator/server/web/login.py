"""The login page; its form posts to curator.server.login."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from curator.server.web.render import render

router = APIRouter()


@router.get("/login")
def login(request: Request, next: str = "/") -> Response:
    return render(request, "login.html", wanted=next)
