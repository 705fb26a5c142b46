"""The admin, and views for what else a front does for a Django site."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path


def seen(request: HttpRequest) -> JsonResponse:
    """What Django thinks of the client and of itself."""
    return JsonResponse(
        {
            "url": request.build_absolute_uri(),
            "is_secure": request.is_secure(),
            "forwarded": request.headers.get("X-Forwarded-For"),
            "real": request.headers.get("X-Real-IP"),
        }
    )


def upload(request: HttpRequest) -> HttpResponseBase:
    if request.method == "GET":
        return HttpResponse(f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">')
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse({"size": file.size, "sha256": digest.hexdigest(), "name": default_storage.save(file.name, file)})


@login_required(login_url="/admin/login/")
def report(request: HttpRequest, name: str) -> HttpResponse:
    """The front sends the file."""
    response = HttpResponse(content_type="application/pdf")
    response["X-Accel-Redirect"] = f"/protected/{name}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def lines(request: HttpRequest) -> StreamingHttpResponse:
    """A line, and the next one when somebody has made a file for it: what comes before has reached its reader."""
    gates = Path(settings.DATA) / "gates" / request.GET["gate"]

    def body() -> Iterator[str]:
        import time

        for number in range(4):
            if number:
                limit = time.monotonic() + 20
                while not (gates / str(number)).exists() and time.monotonic() < limit:
                    time.sleep(0.01)
            yield f"line {number}\n"

    return StreamingHttpResponse(body(), content_type="text/plain", headers={"X-Accel-Buffering": "no"})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("seen/", seen),
    path("old/", lambda request: redirect("/seen/", permanent=True)),
    path("upload/", upload),
    path("report/<str:name>", report),
    path("lines/", lines),
]
