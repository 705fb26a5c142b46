"""For daphne and uvicorn: pages, and a chat room over websockets."""

import os

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gallery.settings")
pages = get_asgi_application()


class Room(AsyncJsonWebsocketConsumer):
    """All in a room hear what is said there, whichever server they are on."""

    async def connect(self) -> None:
        self.room = "room-" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        forwarded = dict(self.scope["headers"]).get(b"x-forwarded-for", b"").decode()
        await self.send_json({"user": self.scope["user"].username, "forwarded": forwarded, "server": os.environ["NAME"]})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive_json(self, content: dict) -> None:
        await self.channel_layer.group_send(self.room, {"type": "said", "text": content["text"]})

    async def said(self, event: dict) -> None:
        await self.send_json({"text": event["text"]})


rooms = URLRouter([path("ws/<str:room>/", Room.as_asgi())])
application = ProtocolTypeRouter({"http": pages, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(rooms))})
