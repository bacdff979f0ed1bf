"""What routes depend on, as ``Annotated`` aliases. Each costs about 10 microseconds a request."""

from typing import Annotated

from fastapi import Depends, Path
from starlette.convertors import StringConvertor, register_url_convertor

from service.request.auth import Allowed, Call
from service.wire.examples import ANALYSIS_ID, VIDEO_ID


class VideoIdConvertor(StringConvertor):
    """``{video_id:video}`` in a path. Ids are part of object keys, so a path whose id has another
    form matches no route."""

    regex = "video_[0-9a-zA-Z]{8,64}"


class AnalysisIdConvertor(StringConvertor):
    """``{analysis_id:analysis}``, likewise."""

    regex = "analysis_[0-9a-zA-Z]{8,64}"


register_url_convertor("video", VideoIdConvertor())
register_url_convertor("analysis", AnalysisIdConvertor())

CallDep = Annotated[Call, Depends(Allowed())]
VideoIdDep = Annotated[str, Path(description="A video's id", examples=[VIDEO_ID])]
AnalysisIdDep = Annotated[str, Path(description="An analysis' id", examples=[ANALYSIS_ID])]
