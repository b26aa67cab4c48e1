"""Why a copy cannot be made, read or trusted, in Japanese: of volumes, buckets, records on them, and what is transcoded."""

from __future__ import annotations

from typing import Final

# Beside messages that say less, and end or begin as these do.
OF_COPIES: Final[dict[str, str]] = {
    "no volume has the id {}, and files on it are to be removed":
        "識別子 {0} のボリュームがありませんが、そこに削除待ちのファイルがあります",
    "a line of the manifest cannot be read: {}": "manifest.jsonl の行を読めません: {0}",
}  # fmt: skip

WHY_A_COPY: Final[dict[str, str]] = {
    **OF_COPIES,
    # copies
    "{}: there is no good copy to make another of: {}": "{0}: 複製の元にできる正しいコピーがありません: {1}",
    "{}: there is no good copy to make another of: none is held": "{0}: 複製の元にできる正しいコピーがありません (保管していません)",
    "the copy on {} cannot be read now": "{0} のコピーは今は読めません",
    "it stays until another copy of its object can be read":
        "同じオブジェクトの別のコピーが読めるようになるまで残します",
    "no copy of it is on a volume of this site": "このサイトのボリュームにコピーがありません",
    "{} on volume {} changes again and again while it is read": "ボリューム {1} の {0} が、読んでいる間に何度も変わります",
    "{} on volume {} is not what was received": "ボリューム {1} の {0} は受信した内容と違います",
    "{} left volume {} while it was written again; it is written once more later":
        "書き直している間にボリューム {1} から {0} がなくなりました。後でもう一度書きます",
    "{} left its volume while it was stored again; it is taken when it is sent again":
        "もう一度保管している間に {0} がボリュームからなくなりました。もう一度送れば保管します",
    "copies that could not be read: {}, the last {}: {}": "読めなかったコピー {0} 件、最後のもの {1}: {2}",
    "files that could not be removed: {}, the last {}: {}": "消せなかったファイル {0} 個、最後のもの {1}: {2}",
    "read back after it was written: {}": "書いた後で読み返しました: {0}",
    "whether {} is still there is not known: {}": "{0} がまだあるか分かりません: {1}",
    "its content is not what its name says: damaged, or not written by this archive":
        "内容が名前と合いません。壊れているか、このアーカイブが書いたものではありません",
    "the file is empty": "ファイルが空です",
    "{} is closed": "{0} は閉じられています",
    "{} is too large to be read at once: {} bytes": "{0} は一度に読むには大きすぎます ({1} バイト)",
    "{} is shorter than it was": "{0} が前より短くなっています",
    "the copy is not what it was copied from: table {} has {} rows there and {} here, and they differ; nothing was copied":
        "写したものが元と違います。表 {0} は、写す先に {1} 行、ここに {2} 行あります。何も写していません",
    "the copy is not what it was copied from: {}, and they differ; nothing was copied":
        "写したものが元と違います ({0})。何も写していません",
    # volumes
    "volume {}: {}": "ボリューム {0}: {1}",
    "volume {} is full: {}": "ボリューム {0} は満杯です: {1}",
    "volume {} is draining: {}": "ボリューム {0} は退避中です: {1}",
    "volume {} is read-only: {}": "ボリューム {0} は読み取り専用です: {1}",
    "{} is offline: {}": "{0} はオフラインです: {1}",
    "{} is suspect: {}": "{0} に異常の疑いがあります: {1}",
    "{} is full: {}": "{0} は満杯です: {1}",
    "{} is draining: {}": "{0} は退避中です: {1}",
    "{} is read-only: {}": "{0} は読み取り専用です: {1}",
    "volume {} left the site": "ボリューム {0} は登録から外されました",
    "it is no volume of this site any more": "すでにこのサイトのボリュームではありません",
    "volume {} has no part of the object": "ボリューム {0} にはオブジェクトの一部もありません",
    "volume {} was not waited for any longer": "ボリューム {0} を待つのをやめました",
    "volume {}: the attempt failed in a way nobody foresaw; see the log":
        "ボリューム {0}: 予期しない失敗です。ログを見てください",
    "the attempt was abandoned": "処理を打ち切りました",
    "{} of {} copies: {}": "コピー {1} 個のうち {0} 個: {2}",
    "there is no volume in another fault domain": "別の故障範囲のボリュームがありません",
    "there are too few volumes": "ボリュームが足りません",
    "there are no more volumes; pacs storage add adds one": "ほかにボリュームがありません。pacs storage add で追加できます",
    "its content is not what was stored": "内容が保管したものと違います",
    "{} is not what was received": "{0} は受信した内容と違います",
    "what was written is not what is read back": "読み返すと、書いた内容と違います",
    "what was read back from {} is not what was written; pacs verify it":
        "{0} から読み返したものが書いた内容と違います。pacs verify で確かめてください",
    "nothing could be written": "何も書けませんでした",
    "cannot be written: {}": "書けません ({0})",
    "the file is shorter than it was": "ファイルが前より短くなっています",
    "{} is there and is no regular file; look who put it there":
        "{0} は通常のファイルではありません。誰が置いたか確かめてください",
    "a symbolic link stands there, which is not followed; look who put it there":
        "シンボリックリンクがあり、たどりません。誰が置いたか確かめてください",
    "{} is removed again and again": "{0} が何度も消されます",
    "its id is no text": "識別子が文字列ではありません",
    "its file is not there": "ファイルがありません",
    "files that were stored last are not there: did it come back with older content?":
        "最後に保管したファイルがありません。古い内容に戻っていませんか",
    "{} stays: too few of its other copies are known to be good":
        "{0} は残します。ほかのコピーのうち、正しいと確かめられたものが足りません",
    # what is to be done, and the backups
    "{}; pacs reconcile --repair takes it in when it can be read":
        "{0}。読めるようになれば pacs reconcile --repair で取り込めます",
    "they were purged while it was not there; they are removed now":
        "このボリュームがない間に消去されました。今、ファイルを消します",
    "{} exists with other content and was left as it is": "{0} は別の内容ですでにあり、そのまま残しました",
    "it is not what was backed up": "バックアップしたものと違います",
    "it does not tell of {}": "{0} についての記載がありません",
    "no volume takes the record of what is to be done: {}": "操作の記録を書けるボリュームがありません: {0}",
    "no volume takes the record of what is to be done: none": "操作の記録を書けるボリュームが一つもありません",
    "{} on volume {} is another operation, which the index does not know: pacs reconcile learns it":
        "ボリューム {1} の {0} は、インデックスにない別の操作の記録です。pacs reconcile で取り込めます",
    "this is no operation, or a damaged one: {}: {}": "操作の記録ではないか、壊れています ({0}): {1}",
    "{} is damaged: it is not UTF-8": "{0} が壊れています (UTF-8 の文字ではありません)",
    "{} is too large for what it should be: it has {} bytes": "{0} が大きすぎます ({1} バイト)",
    "a line of the manifest names no file of an object: {}": "manifest.jsonl の行がオブジェクトのファイルを指していません: {0}",
    "manifest.jsonl ends in the middle of a line": "manifest.jsonl が行の途中で終わっています",
    # buckets
    "{}: a bucket needs {}, which is not installed: {} -m pip install botocore":
        "{0}: バケットには {1} が必要ですが、入っていません: {2} -m pip install botocore",
    "the S3 server leaves {} out of an answer: it does not know that operation":
        "S3 サーバの答えに {0} がありません。その操作に対応していません",
    "the S3 server does not read by ranges: {} came with {} bytes":
        "S3 サーバが範囲を指定した読み取りに対応していません ({0} に {1} バイト返りました)",
    "what arrived is not what was sent ({}): something on the way damages data":
        "届いたものが送ったものと違います ({0})。途中でデータが壊れています",
    "the S3 server has not kept {} as it was sent": "S3 サーバの {0} は送った内容と違います",
    "the S3 server has not kept {} as it copied it": "S3 サーバが写した {0} は元の内容と違います",
    "what is on its way into a bucket can be read only once it is finished":
        "バケットへ送信中のものは、送り終えるまで読めません",
    "the S3 server answers {}: see its log": "S3 サーバは {0} と答えました。そのログを見てください",
    "No such object": "そのようなオブジェクトはありません",
    "There is an object already": "すでにオブジェクトがあります",
    # why an object is not taken
    "it was purged here, which {} is about to be told": "ここでは消去済みです。{0} にはこれから伝えます",
    "{} was deleted here, and is not taken back because {} was asked for it":
        "{0} はここで削除済みのため、{1} から取り寄せても戻しません",
    "{} gives back {} with other bytes than it got": "{0} が返した {1} は、渡したときと内容が違います",
    "{} comes back with other bytes than were sent": "返ってきた {0} は、送ったときと内容が違います",
    "{} came in another transfer syntax, {}": "{0} が別の転送構文 {1} で届きました",
    "the object was deleted at this moment; it is taken when it is sent again":
        "オブジェクトはちょうど削除されたところです。もう一度送れば保管します",
    "its volume was removed at this moment; the object is taken when it is sent again":
        "ボリュームがちょうど外されたところです。オブジェクトはもう一度送れば保管します",
    "the object was not recorded": "オブジェクトをインデックスに記録できませんでした",
    "days in the trash and days to keep are 0 or more": "ごみ箱に置く日数と保管する日数は 0 以上にしてください",
    # archive servers, and what they keep
    "{} does not send {} in any transfer syntax": "{0} は {1} をどの転送構文でも送りません",
    "{} does not send {} in {}": "{0} は {1} を {2} で送りません",
    "{} does not have {}": "{0} に {1} はありません",
    "{} told of no trouble with {}, but it did not come": "{0} は {1} に問題がないと答えましたが、届きませんでした",
    "{} did not send {}: status 0x{}": "{0} は {1} を送りませんでした (ステータス 0x{2})",
    "{} did not send {}: status 0x{}: {}": "{0} は {1} を送りませんでした (ステータス 0x{2}): {3}",
    "{} did not take {}: {}": "{0} は {1} を受け取りませんでした: {2}",
    "{} does not vouch for {}: {}; it stays, and is sent anew":
        "{0} は {1} の保管を保証していません ({2})。ここに残し、送り直します",
    "its report does not name it": "報告に含まれていません",
    "{}, so it stays here": "{0}。そのためここに残します",
    "{} cannot be read here, so it stays: {}": "{0} をここで読めないため、残します: {1}",
    "it was no longer waited for": "待つのをやめました",
    "no archive server keeps it": "どのアーカイブサーバも保管していません",
    "it was deleted while it was fetched": "取り寄せている間に削除されました",
    # why an object was not sent
    "the destination answered status 0111: it keeps another version, which it was sent before": (
        "送信先がステータス 0111 を返しました: 以前に送られた別の版を保存しています"
    ),
    "the destination answered status {}": "送信先がステータス {0} を返しました",
    "the association broke: {}": "アソシエーションが切れました: {0}",
    "the destination ended it before it took anything": "送信先が何も受け取らずに終えました",
    "it was deleted, or another version became the current one, before it was sent":
        "送る前に削除されたか、別の版が現行のものになりました",
    # why an object cannot be sent as the other side wants it
    "{}, and the destination accepted no other transfer syntax": "{0}。送信先はほかの転送構文を受け入れませんでした",
    "the destination accepted no context for {}": "送信先は {0} のプレゼンテーションコンテキストを受け入れませんでした",
    "stored as {}, it fits no transfer syntax that the destination took":
        "{0} で保管しているため、送信先が受け入れた転送構文では送れません",
    "{} has uncompressed pixels under {}": "{0} は、転送構文が {1} なのに画素が圧縮されていません",
    "what was transcoded cannot be read from the cache: {}": "変換したものをキャッシュから読めません: {0}",
    "a frame cannot be decoded: {}": "フレームを復号できません: {0}",
    "the decoder ended with {}": "復号のプロセスが終了コード {0} で終わりました",
    "the decoder was ended ({})": "復号のプロセスを終了させました ({0})",
    "the decoder took longer than {} s": "復号が {0} 秒で終わりませんでした",
    "the decoder took too much processor time and was ended": "復号の CPU 時間が長すぎるため終了させました",
    "the decoder tells of {} bytes where {} are the most that can be":
        "復号のプロセスが {0} バイトを返そうとしました。最大は {1} バイトです",
    "no decoder is started any more because the server ends": "サーバが終了するため、復号のプロセスを起動しません",
    "{} because the server ends": "{0} (サーバが終了するため)",
    "no decoder can be started: {}; look whether this machine has memory, processes and open files left":
        "復号のプロセスを起動できません ({0})。この計算機のメモリ、プロセス数、開けるファイル数に余裕があるか確かめてください",
}  # fmt: skip
