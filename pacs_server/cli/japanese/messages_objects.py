"""What is wrong with an object, its pixels or a query, in Japanese: what import, export, verify and find meet."""

from __future__ import annotations

from typing import Final

_TRANSCODED: Final = "変換できません"

WHY_AN_OBJECT: Final[dict[str, str]] = {
    # files
    "not a DICOM file: no file meta information with SOP class, SOP instance and transfer syntax":
        "DICOM ファイルではありません (SOP クラス、SOP インスタンス、転送構文を示すファイルメタ情報がありません)",
    "not a DICOM object: its data set names no SOP class and instance":
        "DICOM のオブジェクトではありません (データセットに SOP クラスと SOP インスタンスがありません)",
    "its file meta information names a transfer syntax that cannot be one":
        "ファイルメタ情報の転送構文が転送構文ではありません",
    "its file meta information runs past its end or is longer than 64 KiB":
        "ファイルメタ情報がファイルの終わりを越えているか、64 KiB を超えています",
    "its pixel data are compressed, and no file meta information says how":
        "画素データが圧縮されていますが、その転送構文を示すファイルメタ情報がありません",
    # the identity of an object
    "'{}' is not a UID (dotted numbers, at most {} characters)":
        "'{0}' は UID ではありません (点で区切った数字、{1} 文字まで)",
    "the data set has no value for ({},{})": "データセットの ({0},{1}) に値がありません",
    "the data set's SOP Class or Instance UID is not that of the command":
        "データセットの SOP クラスか SOP インスタンスの UID がコマンドと違います",
    "the command's SOP Class is not that of its presentation context":
        "コマンドの SOP クラスがプレゼンテーションコンテキストと違います",
    "the identifying UIDs do not stand in the head of the data set: {}": "データセットの先頭部分に識別用の UID がありません: {0}",
    "more than {} bytes": "{0} バイトを超えています",
    # data sets
    "the data set is empty": "データセットが空です",
    "the data set is truncated in or behind element {}": "データセットが要素 {0} の途中か、その後で切れています",
    "the data set ends inside an element header": "データセットが要素のヘッダの途中で終わっています",
    "the data set is in {}, which is not the transfer syntax that it came in":
        "データセットは {0} で書かれていて、届いたときの転送構文と違います",
    "an element ends beyond the data set": "要素がデータセットの終わりを越えています",
    "an element runs past the end of its item": "要素が項目の終わりを越えています",
    "an item or sequence ends inside an element": "項目かシーケンスが要素の途中で終わっています",
    "it ends inside an element": "要素の途中で終わっています",
    "it is nested deeper than {} levels": "入れ子が {0} 段より深くなっています",
    "sequences are nested deeper than {} levels": "シーケンスの入れ子が {0} 段より深くなっています",
    "more than {} items in one sequence: ask in parts": "一つのシーケンスの項目が {0} 個より多くあります。分けて依頼してください",
    "it has too many elements to be compared": "要素が多すぎて比べられません",
    "element {} of VR {} has undefined length": "要素 {0} (VR {1}) の長さが不定です",
    "element {} has no VR": "要素 {0} に VR がありません",
    "element {} stands where only an item may stand": "項目だけがあるべき所に要素 {0} があります",
    "element {} stands where it may not stand": "要素 {0} があってはならない所にあります",
    "element {} is {} and has no place in a data set": "要素 {0} は{1}のもので、データセットにあってはなりません",
    "a command set or padding": "コマンドセットか埋め草",
    "file meta information": "ファイルメタ情報",
    "the deflated data set cannot be inflated: {}": "圧縮 (Deflate) されたデータセットを展開できません: {0}",
    "its deflated data are damaged: {}": "圧縮 (Deflate) されたデータが壊れています: {0}",
    "its deflated data end early": "圧縮 (Deflate) されたデータが途中で終わっています",
    "its deflated data are a bomb: {} bytes of them make more than {}":
        "圧縮 (Deflate) されたデータが異常です。{0} バイトが {1} バイトより大きく広がります",
    "the stubs of a deposit cannot be inflated: {}": "アーカイブサーバに預けたものの記録を展開できません: {0}",
    "the stubs of a deposit are cut, or too many": "アーカイブサーバに預けたものの記録が途中で切れているか、多すぎます",
    "the other byte order": "別のバイト順",
    "deeper than {} levels": "入れ子が {0} 段より深くなっています",
    "more than {} elements come first": "その前に要素が {0} 個より多くあります",
    "by their lengths, elements of more than {} bytes come first": "その前の要素が {0} バイトを超えています",
    "its check does not fit its content": "検査値が内容と合いません",
    "it has format {}, which this release does not know": "この版が知らない形式 {0} です",
    # pixels
    "its pixel data hold more than {} frames, or one of more than {} bytes":
        "画素データのフレームが {0} 個より多いか、{1} バイトより大きいフレームがあります",
    "its pixel data hold {} frames instead of {}": "画素データのフレームが {1} 個ではなく {0} 個です",
    "its encapsulated pixel data have no offset table": "カプセル化された画素データにオフセットテーブルがありません",
    "something else stands between the fragments of its pixel data": "画素データのフラグメントの間に別のものがあります",
    "its pixel data are not in fragments, as its transfer syntax demands":
        "画素データが、転送構文が求めるフラグメントになっていません",
    "compressed pixel data hold something else than fragments": "圧縮された画素データにフラグメントでないものがあります",
    "compressed pixel data stand where only uncompressed ones may stand":
        "圧縮されていない画素データだけがあるべき所に、圧縮された画素データがあります",
    "its pixel data are not those of {} frames of {} bytes": "画素データの長さが {1} バイトのフレーム {0} 個と合いません",
    "a frame is no JPEG codestream: it has no frame header":
        "フレームが JPEG のコードストリームではありません (フレームヘッダがありません)",
    "a frame is no JPEG 2000 codestream: it has no size marker":
        "フレームが JPEG 2000 のコードストリームではありません (SIZ マーカがありません)",
    "a frame claims {} rows, {} columns, {} samples and {} bits, the data set {}, {}, {} and {}":
        "フレームは {0} 行、{1} 列、{2} サンプル、{3} ビットですが、データセットでは {4} 行、{5} 列、{6} サンプル、{7} ビットです",
    "its attributes do not describe an image that can be transcoded": f"属性が画像として正しくないため、{_TRANSCODED}",
    "a frame of {} bytes is larger than is transcoded": f"フレームが {{0}} バイトあり、大きすぎて{_TRANSCODED}",
    "pixels of {} bits are not transcoded": f"{{0}} ビットの画素は{_TRANSCODED}",
    "it has no pixel data to be compressed": "圧縮する画素データがありません",
    "uncompressed its pixel data have {} bytes, which one element cannot hold":
        "圧縮を解いた画素データは {0} バイトで、一つの要素に入りません",
    "uncompressed pixels in {} are not compressed": "{0} の圧縮されていない画素は圧縮できません",
    "{} bits of {} in this place are compressed by RLE only": "{1} ビット中のこの位置の {0} ビットは、RLE でだけ圧縮できます",
    "it ends early": "途中で終わっています",
    "it needs more than {} bytes of memory": "メモリが {0} バイトより多く必要です",
    "the decoder made an image of {}": "復号すると {0} の画像になりました",
    "something stands in the bits above those that are stored, and would be lost":
        "使わないはずの上位ビットに値があり、圧縮すると失われます",
    "a frame of {} bytes is too short for the header of RLE": "フレームが {0} バイトで、RLE のヘッダより短くなっています",
    "a frame has {} RLE segments instead of {}": "フレームの RLE セグメントが {1} 個ではなく {0} 個です",
    "{} samples of {} bits need more segments than RLE has": "{1} ビットのサンプル {0} 個は RLE のセグメント数に収まりません",
    # identifiers of queries and retrieves
    "the identifier is damaged: {}": "Identifier が壊れています: {0}",
    "key {} of the identifier has no value representation": "Identifier のキー {0} に VR がありません",
    "key {} of the identifier is longer than the identifier": "Identifier のキー {0} が Identifier より長くなっています",
    "the identifier has more than {} keys": "Identifier のキーが {0} 個を超えています",
    "the query has no Query/Retrieve Level": "検索に Query/Retrieve Level がありません",
    "level {} is not one of the {} model": "{0} は {1} モデルのレベルではありません",
    "the retrieve has no Query/Retrieve Level and no unique key": "取得に Query/Retrieve Level も一意キーもありません",
    "the retrieve has no {}, the unique key of its level": "取得に、そのレベルの一意キー {0} がありません",
    "{} is below the level of the retrieve": "{0} は取得のレベルより下の属性です",
    "{} has more than {} values; ask in parts": "{0} の値が {1} 個を超えています。分けて依頼してください",
    "{} of a retrieve may not have wildcards": "取得の {0} にワイルドカードは使えません",
    "the patient ID names patients of two issuers: give Issuer of Patient ID":
        "その患者 ID は二つの発行者の患者にあります。Issuer of Patient ID を指定してください",
}  # fmt: skip
