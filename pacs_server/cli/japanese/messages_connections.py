"""Why a connection, an association or a message on one came to nothing, in Japanese: what the network, TLS and the other
side do.
"""

from __future__ import annotations

from typing import Final

# What the operating system and OpenSSL say, in their words.
OF_THE_SYSTEM: Final[dict[str, str]] = {
    "Address family not supported by protocol": "そのアドレスの種類 (IPv6 など) には対応していません",
    "Bad file descriptor": "開いていないファイルか接続です",
    "Broken pipe": "相手が先に閉じました",
    "Cannot allocate memory": "メモリが足りません",
    "Cannot assign requested address": "この計算機にそのアドレスはありません",
    "Connection refused": "接続を拒否されました",
    "Connection reset by peer": "相手に接続を切られました",
    "Connection timed out": "接続が時間切れになりました",
    "Device or resource busy": "使用中です",
    "Disk quota exceeded": "クォータを超えています",
    "File exists": "すでにあります",
    "File name too long": "ファイル名が長すぎます",
    "Host is down": "ホストが動いていません",
    "Invalid argument": "引数が正しくありません",
    "Is a directory": "ディレクトリです",
    "Network is down": "ネットワークが動いていません",
    "Network is unreachable": "そのネットワークへの経路がありません",
    "No route to host": "ホストへの経路がありません",
    "No such device or address": "そのような装置やアドレスはありません",
    "Operation not permitted": "その操作は許されていません",
    "Operation not supported": "その操作には対応していません",
    "Software caused connection abort": "接続が切れました",
    "Stale file handle": "NFS のファイルが無効になりました (Stale file handle)",
    "Structure needs cleaning": "ファイルシステムが壊れています (fsck が必要です)",
    "Too many levels of symbolic links": "シンボリックリンクが循環しているか、多すぎます",
    "Too many open files": "開いているファイルが多すぎます",
    "Transport endpoint is not connected": "マウント先のサーバとの接続が切れています",
}  # fmt: skip

OF_NAME_SERVERS: Final[dict[str, str]] = {
    "Name or service not known": "その名前は DNS にありません",
    "No address associated with hostname": "その名前にアドレスがありません",
    "Temporary failure in name resolution": "今は DNS で名前を引けません",
}  # fmt: skip

OF_OPENSSL: Final[dict[str, str]] = {
    "certificate has expired": "証明書の期限が切れています",
    "certificate is not yet valid": "証明書がまだ有効ではありません (時計も確かめてください)",
    "self-signed certificate": "自己署名証明書です",
    "self-signed certificate in certificate chain": "信頼していない認証局 (自己署名) の証明書です",
    "unable to get local issuer certificate": "発行した認証局の証明書が手元にありません",
    "unable to get issuer certificate": "発行した認証局の証明書がありません",
    "unable to verify the first certificate": "中間証明書が足りないため確かめられません",
    "certificate signature failure": "証明書の署名が正しくありません",
    "unsuitable certificate purpose": "証明書の用途が違います",
    "unsupported certificate purpose": "証明書の用途が違います",
    "invalid CA certificate": "認証局の証明書が正しくありません",
    "EE certificate key too weak": "証明書の鍵が短すぎます",
    "CA md too weak": "認証局の証明書の署名方式が弱すぎます",
    "Hostname mismatch, certificate is not valid for '{}'.": "証明書はホスト名 '{0}' のものではありません",
    "IP address mismatch, certificate is not valid for '{}'.": "証明書は IP アドレス '{0}' のものではありません",
}  # fmt: skip

WHY_A_CONNECTION: Final[dict[str, str]] = {
    **OF_THE_SYSTEM,
    **OF_NAME_SERVERS,
    **OF_OPENSSL,
    "[Errno {}] {}": "{1} (エラー番号 {0})",
    # how an association came to its end
    "the peer aborted the association (source {}, reason {})":
        "相手がアソシエーションを中断しました (A-ABORT、発生元 {0}、理由 {1})",
    "the peer aborted before it requested an association": "相手がアソシエーションを要求する前に中断しました (A-ABORT)",
    "the peer released the association before it had answered the retrieve":
        "相手が取得の応答を終える前にアソシエーションを解放しました",
    "the association has ended": "アソシエーションは終わっています",
    "the peer did not answer the release request": "相手がアソシエーションの解放要求に答えませんでした",
    "the peer took too long to send a whole PDU": "相手が PDU を最後まで送るのに時間がかかりすぎました",
    "the peer took too long to send anything": "相手から時間内に何も届きませんでした",
    "the peer took too long to take what was sent": "送ったものを相手が時間内に受け取りませんでした",
    "the other side took too long to take what was sent": "送ったものを相手が時間内に受け取りませんでした",
    "the other side took too long to send what was waited for": "待っていたものが相手から時間内に届きませんでした",
    "the other side took too long {}": "相手の応答に時間がかかりすぎました ({0})",
    "{} accepted no presentation context for Verification":
        "{0} は Verification のプレゼンテーションコンテキストを受け入れません",
    "the identifier has {} bytes; at most {} are read": "Identifier が {0} バイトあります。読むのは {1} バイトまでです",
    "the peer takes PDUs of at most {} bytes, in which no data fits":
        "相手の最大 PDU 長 {0} バイトではデータが入りません",
    "the peer takes PDUs of at most {} bytes; objects are sent in {} or more: raise its maximum PDU length":
        "相手の最大 PDU 長は {0} バイトですが、送信には {1} バイト以上が必要です。相手の最大 PDU 長を大きくしてください",
    "a {} came where only objects of the retrieve are due": "取得したオブジェクトを待っているところへ {0} が届きました",
    "{} sent a {} where only its report is due": "{0} は、報告を待っているところへ {1} を送ってきました",
    # what does not follow the upper layer protocol
    "an unexpected {} came": "予期しない {0} が届きました",
    "a {} came before an association": "アソシエーションの確立前に {0} が届きました",
    "not DICOM: it sent a PDU of type 0x{}": "DICOM ではありません (PDU の種類 0x{0})",
    "a PDU of type {} has a length of {} bytes; allowed are {} to {}":
        "{0} の PDU の長さが {1} バイトです。許されるのは {2} から {3} までです",
    "a P-DATA PDU ends with {} bytes too many": "P-DATA の PDU の末尾に余分な {0} バイトがあります",
    "a presentation data value has a length of {} bytes in {} of its PDU":
        "PDU の残り {1} バイトに対し、PDV の長さが {0} バイトです",
    "an association request proposes no presentation context":
        "アソシエーション要求にプレゼンテーションコンテキストがありません",
    "an association request uses a presentation context ID twice":
        "アソシエーション要求で同じプレゼンテーションコンテキスト ID が二度使われています",
    "an A-ASSOCIATE PDU has a name in it that cannot be a UID": "A-ASSOCIATE の PDU に UID ではない名前があります",
    "an A-ASSOCIATE PDU holds two items of type 0x{}": "A-ASSOCIATE の PDU に種類 0x{0} の項目が二つあります",
    "an A-ASSOCIATE PDU holds an item of type 0x{}": "A-ASSOCIATE の PDU に種類 0x{0} の項目があります",
    "an A-ASSOCIATE PDU holds more than {} items in one place":
        "A-ASSOCIATE の PDU の一箇所に項目が {0} 個より多くあります",
    "an item of an A-ASSOCIATE PDU is cut off": "A-ASSOCIATE の PDU の項目が途中で切れています",
    "an item of type 0x{} runs past the end of what it is in": "種類 0x{0} の項目が、それを含むものの終わりを越えています",
    "a name in the user information runs past the end of its item": "利用者の情報 (User Information) の名前が項目の終わりを越えています",
    "a role selection item has a wrong length": "役割選択 (role selection) の項目の長さが正しくありません",
    "a presentation context is shorter than its fixed part": "プレゼンテーションコンテキストが短すぎます",
    "presentation context ID {} is not odd": "プレゼンテーションコンテキスト ID {0} が奇数ではありません",
    "presentation context {} has {} abstract syntaxes, or no name":
        "プレゼンテーションコンテキスト {0} の抽象構文が {1} 個か、名前がありません",
    "presentation context {} proposes no transfer syntax": "プレゼンテーションコンテキスト {0} に転送構文がありません",
    "presentation context {} holds an item of type 0x{}":
        "プレゼンテーションコンテキスト {0} に種類 0x{1} の項目があります",
    # what does not follow the message protocol
    "a data set consists of empty fragments": "データセットが空のフラグメントばかりです",
    "a data set is larger than {} bytes": "データセットが {0} バイトを超えています",
    "a release came before the response that is due": "待っている応答より先に解放の要求が届きました",
    "a request or release came before the response that is due": "待っている応答より先に別の要求か解放の要求が届きました",
    "a {} came instead of the response that is due": "待っている応答の代わりに {0} が届きました",
    "a {} came that answers nothing": "どの要求の応答でもない {0} が届きました",
    "something else came before the data set ended": "データセットが終わる前に別のものが届きました",
    "too many C-CANCEL for requests that are not being worked on": "処理していない要求への C-CANCEL が多すぎます",
    "a command has an unknown Command Field 0x{}": "コマンドの Command Field 0x{0} が未知のものです",
    "a {} lacks its message ID or Command Data Set Type": "{0} にメッセージ ID か Command Data Set Type がありません",
    "a {} lacks its Status": "{0} に Status がありません",
    "a C_CANCEL_RQ announces a data set": "C-CANCEL にデータセットがあることになっています",
    "a command set has a wrong Command Group Length": "コマンドセットの Command Group Length が正しくありません",
    "a command set ends inside an element": "コマンドセットが要素の途中で終わっています",
    "a command set holds an element of group {}": "コマンドセットにグループ {0} の要素があります",
    "a command set is larger than {} bytes": "コマンドセットが {0} バイトを超えています",
    "element (0000,{}) of a command set is not a 16-bit number": "コマンドセットの要素 (0000,{0}) が 16 ビットの数ではありません",
    "element (0000,{}) of a command set is out of order or there twice":
        "コマンドセットの要素 (0000,{0}) の順序が違うか、二度あります",
    "element (0000,{}) runs past the end of its command set": "要素 (0000,{0}) がコマンドセットの終わりを越えています",
    "a command came before the data set of the last one ended":
        "前のコマンドのデータセットが終わる前に次のコマンドが届きました",
    "a command goes on in another presentation context": "コマンドの続きが別のプレゼンテーションコンテキストで届きました",
    "a command came on context {}, which was not accepted":
        "受け入れていないプレゼンテーションコンテキスト {0} でコマンドが届きました",
    "a data set came that no command announced": "コマンドにないデータセットが届きました",
    "a data set came on another presentation context than its command":
        "データセットがコマンドと別のプレゼンテーションコンテキストで届きました",
    # certificates, keys and those who log in
    "the other side ended TLS: {}": "相手が TLS を終えました: {0}",
    "the certificate of the other side is not one that was pinned here": "相手の証明書は、ここに登録したものではありません",
    "the certificate {} and the key {} cannot be used: {}; both are PEM, the key without a pass phrase, and belong together: "
    "pacs tls init makes such":
        "証明書 {0} と鍵 {1} を使えません ({2})。どちらも PEM で、鍵にパスフレーズがなく、組になっていなければなりません。"
        "pacs tls init で作れます",
    "the authority {} cannot be used: {}; tls.ca_file names the certificates that those of peers are from, in PEM; pacs tls "
    "init makes one":
        "認証局の証明書 {0} を使えません ({1})。接続相手の証明書を発行した認証局の証明書 (PEM) を tls.ca_file に書いてください。"
        "pacs tls init で作れます",
    "the user {} cannot log in: {}": "利用者 {0} でログインできません: {1}",
    "the key {} cannot be read: {}": "鍵 {0} を読めません ({1})",
    "{} holds no key that is used: RSA from {} bits, P-256 or Ed25519":
        "{0} に使える鍵がありません。使えるのは {1} ビット以上の RSA、P-256、Ed25519 です",
    "{} holds no public key, neither in PEM nor as a JSON Web Key Set: {}":
        "{0} に公開鍵がありません。PEM でも JSON Web Key Set でもありません ({1})",
    "no token is believed: identity.jwt in pacs.yaml needs an issuer and key_files":
        "トークンは一つも受け入れられません。pacs.yaml の identity.jwt に issuer と key_files を書いてください",
    "its AE title cannot be one: it is empty, or has a character that no title has":
        "AE タイトルが空か、使えない文字があります",
    "neither RSA from {} bits nor P-256 nor Ed25519": "{0} ビット以上の RSA でも P-256 でも Ed25519 でもありません",
    # the receiver of audit messages
    "the receiver of audit messages cannot be checked with {}: {}; audit.syslog.ca_file in pacs.yaml names the file, in PEM, "
    "of the authority that has signed its certificate":
        "監査メッセージの受信先を {0} で確かめられません ({1})。その証明書を発行した認証局の証明書 (PEM) を pacs.yaml の "
        "audit.syslog.ca_file に書いてください",
    "no datagram can be sent to {}:{}: {}": "{0} のポート {1} にデータグラムを送れません: {2}",
    "{} closed the connection without saying that it has read everything (RFC 5425 section 4.4): of rsyslog take the driver "
    "ossl, which does":
        "{0} は、すべて読んだと告げずに接続を閉じました (RFC 5425 の 4.4 節)。rsyslog では、そうするドライバ ossl を使ってください",
    "the receiver of audit messages at {}": "監査メッセージの受信先 {0}",
    "{} and this node do not come together over TLS: {}": "{0} とこのノードの TLS が成立しません: {1}",
    "{} took too long to read what was sent": "{0} は送ったものを時間内に読みませんでした",
    "the connection with {} broke: {}": "{0} との接続が切れました: {1}",
}  # fmt: skip
