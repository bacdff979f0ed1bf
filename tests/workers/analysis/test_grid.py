"""Boxes of tokens that maps of several grids are pooled to."""

from workers.analysis.measures.grid import Pooling, TokenGrid, common_boxes


def test_boxes_that_several_grids_have() -> None:
    assert common_boxes([TokenGrid(5, 8, 12)], 1024) == TokenGrid(5, 8, 12)
    coarse = common_boxes([TokenGrid(21, 30, 52), TokenGrid(13, 30, 45)], 512)
    assert coarse.tokens <= 512
    assert coarse.frames == 13
    box = Pooling(TokenGrid(21, 30, 52), coarse).box_of()
    assert sorted(set(box.tolist())) == list(range(coarse.tokens))
    assert common_boxes([TokenGrid(40, 1, 1)], 16) == TokenGrid(16, 1, 1)
