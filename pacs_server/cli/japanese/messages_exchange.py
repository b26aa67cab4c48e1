"""Why partners do not understand each other, and why Patroni and the keys of this node cannot be used, in Japanese."""

from __future__ import annotations

from typing import Final

WHY_AN_EXCHANGE: Final[dict[str, str]] = {
    # the link
    "{} closed the connection without an answer; its log says why":
        "{0} は答えずに接続を閉じました。理由は相手のログにあります",
    "{} answered another question than was asked": "{0} は尋ねたことと違う答えを返しました",
    "the other side ended in the middle of a message": "メッセージの途中で相手が終わりました",
    "more came before the answer to what was asked": "尋ねたことの答えより先に、余分なものが届きました",
    "{} connections of partners are open already": "相手サーバからの接続がすでに {0} 本開いています",
    "a message '{}' of {} bytes; {} go at once: say it in parts":
        "メッセージ '{0}' が {1} バイトあります。一度に送れるのは {2} バイトまでです",
    "a message says that it has {} bytes; {} are allowed": "メッセージの長さが {0} バイトです。許されるのは {1} バイトまでです",
    "a message of a kind that this release does not know: {}": "この版が知らない種類のメッセージです: {0}",
    "a message is no JSON: {}": "メッセージが JSON ではありません: {0}",
    "a message is not an object of version, kind and body": "メッセージに version、kind、body が揃っていません",
    "a message has version {}; this release speaks {}": "メッセージの版は {0} ですが、このリリースが使うのは {1} です",
    "a message has no kind, or no body": "メッセージに kind か body がありません",
    "a message has no time with a time zone where one belongs": "メッセージの時刻がないか、タイムゾーンがありません",
    "a message has no text, or too long a one, where a text belongs": "メッセージの文字列がないか、長すぎます",
    "a message has no {}": "メッセージに {0} がありません",
    # what a partner says of itself
    "a greeting lacks who greets": "挨拶のメッセージに、誰からのものかがありません",
    "a greeting names a site by what cannot be the id of one": "挨拶のメッセージのサイトの識別子が正しくありません",
    "a greeting names as the preferred site what cannot be the id of one":
        "挨拶のメッセージの優先サイトの識別子が正しくありません",
    "a greeting has no text, or one that is too long, where a text belongs": "挨拶のメッセージの文字列がないか、長すぎます",
    "a greeting has no count where one belongs": "挨拶のメッセージに件数がありません",
    "a greeting does not say what its site knows": "挨拶のメッセージに、そのサイトの変更の記録の状態がありません",
    "a partner does not say how it stands": "相手サーバが自分の状態を告げません",
    "a partner does not say whether to drain": "相手サーバが、受付を止めるかどうかを告げません",
    # what both sides compare
    "the state of a log is no list of sites, or of too many":
        "変更の記録の状態がサイトの一覧ではないか、サイトが多すぎます",
    "the state of a log does not say of each site three numbers": "変更の記録の状態に、サイトごとの三つの数がありません",
    "the state of a log has a counter that is negative, or too large": "変更の記録の通し番号が負か、大きすぎます",
    "a log that this release does not have": "このリリースにない種類の変更の記録です",
    "an entry of a log is no text": "変更の記録の項目が文字列ではありません",
    "a place in a log is no pair of a counter and a site": "変更の記録の位置が、通し番号とサイトの組ではありません",
    "the {} of both sides do not become the same": "両サイトの {0} の記録が同じになりません",
    "this is no change that a partner may tell: {}: {}": "相手サーバが伝えてよい変更ではありません ({0}): {1}",
    "a question names no buckets": "比較の問い合わせに区分がありません",
    "a question names no place": "比較の問い合わせに位置がありません",
    "an answer has not {} whole numbers for its sums": "比較の答えの合計が {0} 個の整数ではありません",
    "an answer has something that is no study where one belongs": "比較の答えの検査があるべき所に、検査でないものがあります",
    "a row of {} is not so many texts as belong there": "{0} の行の文字列の数が正しくありません",
    "the sums were not counted: the log says why": "比較のための合計を数えられませんでした。理由はログにあります",
    "it sends no objects to this partner: there, pacs partner set {} --aet AET":
        "この相手サーバにはオブジェクトを送りません。相手側で pacs partner set {0} --aet AET を実行してください",
    "no peer {} with an address is registered, so partner {} gets no objects: pacs ae add {} ...":
        "アドレスのある接続相手 {0} が登録されていないため、相手サーバ {1} にオブジェクトを送れません: pacs ae add {2} ...",
    "no peer {} with an address is registered, so nothing can be sent: pacs ae add {} ...":
        "アドレスのある接続相手 {0} が登録されていないため、何も送れません: pacs ae add {1} ...",
    "this site has {} partners, none of which is preferred: give the command on the other site":
        "このサイトには相手サーバが {0} つあり、優先サイトはそのどれでもありません。もう一方のサイトで実行してください",
    "the partner lacks {} objects yet": "相手サーバに {0} 件がまだ届いていません",
    "another pacs failover is at work on {}; wait until it has ended":
        "{0} で別の pacs failover が作業中です。終わるまでお待ちください",
    "a site that is no partner here ({}; a restored site was another one before)":
        "ここの相手サーバではないサイト ({0}。復元したサイトは前とは別のサイトになります)",
    "its server does not run: pacs serve": "そのサーバが動いていません: pacs serve",
    # Patroni
    "patroni.urls names no member": "patroni.urls にメンバーが書かれていません",
    "{}: not what Patroni answers; is patroni.urls right?": "{0}: Patroni の答えではありません。patroni.urls は正しいですか",
    "patroni: {} cannot be used: {}": "patroni: {0} を使えません: {1}",
    # the key by which this node signs, and its checkpoints
    "checkpoint {} of {} by {}": "{1} のチェックポイント {0} (by {2})",
    "{} holds a key of another kind than Ed25519": "{0} の鍵は Ed25519 ではありません",
    "{} may be read by other users of this machine: chmod 600 it":
        "{0} をこの計算機のほかの利用者も読めます。chmod 600 としてください",
    "this is no checkpoint of the audit trail: {}": "監査記録のチェックポイントではありません: {0}",
    # storage commitment
    "the request names no object in its Referenced SOP Sequence (0008,1199)":
        "依頼の Referenced SOP Sequence (0008,1199) にオブジェクトがありません",
    "the report names no object": "報告にオブジェクトがありません",
    "there is no {}": "{0} がありません",
    "the data set is damaged: {}": "データセットが壊れています: {0}",
    "its sequence of objects is damaged: {}": "オブジェクトのシーケンスが壊れています: {0}",
    "{} answers the report of {} with status 0x{}": "{0} は {1} の報告にステータス 0x{2} を返しました",
    "the report of transaction {} waits: {}": "トランザクション {0} の報告が待っています: {1}",
    "transaction {}: {} of {} objects have fewer copies than wanted; pacs storage list shows which volume is away":
        "トランザクション {0}: オブジェクト {2} 件のうち {1} 件はコピーが足りません。使えないボリュームは pacs storage list で確認できます",
    # the processes of a server
    "the server was stopped": "サーバが停止しました",
    "the C-ECHO was answered with {}": "C-ECHO に {0} が返りました",
    "a process of the server ended while it started": "サーバのプロセスが起動中に終了しました",
    "the index was not reached": "インデックスに接続できませんでした",
    "the database went away, the log says how; start it again":
        "データベースが応答しなくなりました。詳細はログにあります。起動し直してください",
}  # fmt: skip
