"""What is said of persons who log in, and of peers that were examined: a part of the Japanese messages; and the causes
for which associations and connections fail, which stand in many of them.
"""

from __future__ import annotations

from typing import Final

from pacs_server.cli.japanese.messages_added import OF_WHAT_IS_ADDED
from pacs_server.cli.japanese.messages_checks import WHY_A_CHECK
from pacs_server.cli.japanese.messages_connections import WHY_A_CONNECTION
from pacs_server.cli.japanese.messages_copies import WHY_A_COPY
from pacs_server.cli.japanese.messages_database import WHY_A_DATABASE
from pacs_server.cli.japanese.messages_exchange import WHY_AN_EXCHANGE
from pacs_server.cli.japanese.messages_objects import WHY_AN_OBJECT
from pacs_server.cli.japanese.messages_refusals import OF_REFUSALS
from pacs_server.cli.japanese.messages_sites import WHY_A_SITE
from pacs_server.cli.japanese.messages_standing import WHY_A_PART
from pacs_server.cli.japanese.messages_usage import CAUSES_OF_THE_LIBRARY, WHY_A_VALUE

OF_PEERS: Final[dict[str, str]] = {
    "added the user {}": "利用者 {0} を登録しました",
    "changed the user {}": "利用者 {0} を変更しました",
    "forgot the user {}": "利用者 {0} の登録を消しました",
    "would forget the user {}, who could then log in nowhere; do it with --yes":
        "利用者 {0} の登録を消すと、どこにもログインできなくなります。実行するには --yes を付けてください",
    "no user is known; add one with: pacs user add": "利用者は登録されていません。追加: pacs user add",
    "no user {} is known; pacs user list shows them": "利用者 {0} は登録されていません。pacs user list で確認できます",
    "the user {} is known already; change what is known with: pacs user set":
        "利用者 {0} はすでに登録されています。変更: pacs user set",
    "a passcode has at least {} characters": "パスコードは {0} 文字以上にしてください",
    "the passcode cannot be read from {}: {}": "パスコードを {0} から読めません: {1}",
    "a passcode is asked for at a terminal, and there is none: give it with --passcode-file FILE, or - for standard input":
        "パスコードは端末で尋ねますが、端末がありません。--passcode-file FILE で渡してください (標準入力なら -)",
    "its user logs in over TLS alone, which is off": "利用者のログインは TLS でだけできますが、TLS は無効です",
    "set tls.port in pacs.yaml": "pacs.yaml の tls.port を設定してください",
    "no token is believed": "トークンは一つも受け入れられません",
    "identity.jwt in pacs.yaml needs an issuer and key_files":
        "pacs.yaml の identity.jwt に issuer と key_files を書いてください",
    # pacs doctor AET: the checks
    "ok": "正常",
    "failed": "失敗",
    "way": "経路",
    "name": "ホスト名",
    "association": "アソシエーション",
    "certificate": "証明書",
    "what it offers": "提供するもの",
    "transfer syntaxes": "転送構文",
    "its calls": "相手からの接続",
    "login": "ログイン",
    "rights": "権限",
    "clock": "時計",
    "character set": "文字集合",
    "destinations": "移動先",
    "queue": "送信待ち",
    # the way there
    "it only calls us: it has no address here": "接続してくるだけの相手です(アドレスの登録がありません)",
    "{} has no address: {}": "{0} のアドレスが見つかりません: {1}",
    "correct that name in DNS, or name the address: pacs ae set {} --host ADDRESS":
        "DNS でその名前を正すか、アドレスを登録してください: pacs ae set {0} --host ADDRESS",
    "{}: check that {}:{} is its address, that it is running, and the firewalls between":
        "{0}: アドレスが {1}:{2} で正しいこと、相手が動いていること、途中のファイアウォールを確かめてください",
    "{}: its AE title is another one than {}; register it here by its own":
        "{0}: 相手の AE タイトルは {1} ではありません。相手自身のタイトルで登録してください",
    "{}: register {} (this archive) there, with the address from which it calls":
        "{0}: 相手側に {1}(このアーカイブ)を、こちらのアドレスとともに登録してください",
    "{}: register {} (this archive) there, and check that its AE title is {}":
        "{0}: 相手側に {1}(このアーカイブ)を登録し、相手の AE タイトルが {2} であることを確かめてください",
    "{}: something else than a DICOM server may listen there, or it waits for TLS (pacs ae set --tls)":
        "{0}: そのポートは DICOM サーバではないか、TLS を待っています(pacs ae set --tls)",
    "{}: if that one is right, pin it with pacs ae set {} --certificate":
        "{0}: その証明書で正しければ、フィンガープリントを登録してください: pacs ae set {1} --certificate",
    "{}: check that this is its TLS port, and that tls.ca_file has the authority of its certificate and that is for this "
    "host name, or pin it with pacs ae set {} --certificate":
        "{0}: そのポートが相手の TLS のポートであること、相手の証明書がこのホスト名のもので、その認証局が tls.ca_file にあることを"
        "確かめるか、フィンガープリントを登録してください: pacs ae set {1} --certificate",
    "{}: let it trust the authority of this node's certificate (pacs tls show), register {} there, and check that its AE "
    "title is {}":
        "{0}: 相手側で、このサーバの証明書の認証局を信頼させ (pacs tls show)、{1} を登録し、相手の AE タイトルが {2} であることを確かめてください",
    "it answered status 0x{}: look into its log": "状態 0x{0} が返りました。相手のログを見てください",
    "{}: look into the peer's log": "{0}: 相手のログを見てください",
    "{}: look into its log": "{0}: 相手のログを見てください",
    "it does not offer Verification to us: allow it there; storing may work all the same":
        "相手はこちらに Verification を許していません。相手側で許可してください。保存はできるかもしれません",
    "it takes no Secondary Capture image from us: allow storing there; it may take other kinds":
        "相手は Secondary Capture を受け取りません。相手側で保存を許可してください。ほかの種類は受け取るかもしれません",
    "it refused the test object with status {}: check its rights for us, its disk and its log":
        "試験用オブジェクトは状態 {0} で断られました。相手側の権限、ディスク、ログを確かめてください",
    "it speaks TLS on that port": "そのポートでは TLS が使われています",
    "it speaks DICOM without TLS on that port": "そのポートでは TLS なしの DICOM が使われています",
    "name its port for TLS: pacs ae set {} --port P; or call it --no-tls":
        "TLS のポートを登録してください: pacs ae set {0} --port P。または --no-tls で接続してください",
    "its certificate expires in {} days": "相手の証明書はあと {0} 日で期限が切れます",
    "its certificate has expired": "相手の証明書は期限が切れています",
    "have a new one made there; if it is pinned: pacs ae set {} --certificate":
        "相手側で新しい証明書を作ってください。フィンガープリントを登録しているなら: pacs ae set {0} --certificate",
    # what it offers
    "nothing is held yet that could be sent to it": "送れるものがまだ保管されていません",
    "it takes none of the kinds of objects that are held here": "ここにある種類のオブジェクトは一つも受け取りません",
    "of the newest objects, {} can be sent to it as they are, {} transcoded":
        "最近のオブジェクトのうち {0} 件はそのまま、{1} 件は変換して送れます",
    "of the newest objects, {} can be sent to it as they are, {} transcoded, {} not at all: {}":
        "最近のオブジェクトのうち {0} 件はそのまま、{1} 件は変換して送れますが、{2} 件は送れません: {3}",
    "if it should get them: allow these SOP classes and transfer syntaxes there":
        "送るべきものなら、相手側でその SOP クラスと転送構文を許可してください",
    "it answers no queries of ours": "こちらからの検索は受け付けません",
    "{}: allow {} to query there": "{0}: 相手側で {1} に検索を許可してください",
    "it answers with studies that were not asked for": "求めていない検査まで答えます",
    "its answers cannot be relied on: it does not match StudyInstanceUID":
        "答えは信頼できません。StudyInstanceUID で絞り込んでいません",
    "it sends nothing that we ask for": "こちらの求めでは何も送りません",
    "it does not know this archive as a destination": "相手はこのアーカイブを移動先として知りません",
    "register {} there, with the address of this server and port {}":
        "相手側に {0} を、このサーバのアドレスとポート {1} で登録してください",
    "register {} there, with the address of this server and port {}; here: pacs status, and pacs ae seen":
        "相手側に {0} を、このサーバのアドレスとポート {1} で登録してください。こちらでは pacs status と pacs ae seen を見てください",
    "it answers status {} when nothing is asked for; --send-back tries the way here":
        "何も求めない要求には状態 {0} を返します。--send-back で、こちらへの経路を試せます",
    "it sent the tiny object back, which is held here now: patient {}":
        "小さなオブジェクトが送り返されました。ここに保管されています(患者 {0})",
    "it says that it sent the tiny object, which did not come": "小さなオブジェクトを送ったと答えましたが、ここには届きません",
    "it could not send the tiny object here: status {}": "小さなオブジェクトをここへ送れませんでした: 状態 {0}",
    # what it did here
    "it did something here last at {}": "最後の操作は {0} でした",
    "from {} it was turned away {} times, last at {}: {}": "{0} からの接続を {1} 回断りました(最後は {2}): {3}",
    "pacs user list, where its user could not log in; else {}":
        "利用者がログインできないなら pacs user list を見てください。そうでなければ {0}",
    "in its own settings, turn off user identity negotiation: here nobody has to log in at it":
        "相手側の設定で、利用者情報の送信(User Identity Negotiation)を止めてください。この相手ではログインは必要ありません",
    "in its own settings, have user identity negotiation send {} of at most {} bytes":
        "相手側の設定で、利用者情報(User Identity Negotiation)として{0}を {1} バイト以内で送らせてください",
    "if the certificate that it showed is its new one: {}":
        "示された証明書が相手の新しい証明書であるなら: {0}",
    "have it call over TLS with its certificate; to ask for none: pacs ae set {} --certificate -":
        "TLS で、登録した証明書を使って接続させてください。証明書を求めないなら: pacs ae set {0} --certificate -",
    "no peer {} is registered; it was turned away: pacs ae approve {}; pacs ae list shows them":
        "接続相手 {0} は登録されていません。接続を断った記録があります。登録するには: pacs ae approve {1}。一覧: pacs ae list",
    "no peer {} is registered; it was turned away: turn off user identity negotiation in its settings, then "
    "pacs ae approve {}; pacs ae list shows them":
        "接続相手 {0} は登録されていません。接続を断った記録があります。相手側の設定で利用者情報の送信(User Identity Negotiation)を止めてから "
        "pacs ae approve {1} を実行してください。一覧: pacs ae list",
    "nothing came from it in {} days": "{0} 日のあいだ、何も届いていません",
    "have it call {} at port {}, from {}": "{2} から {0}(ポート {1})へ接続させてください",
    "it asked for what it may not do: {}": "許されていないことを求めました: {0}",
    "if it should: pacs ae set {} --allow {}": "許すなら: pacs ae set {0} --allow {1}",
    "none of its {} newest studies is from the future": "最近の検査 {0} 件に、未来のものはありません",
    "{} of its {} newest studies are from the future, by up to {}":
        "最近の検査 {1} 件のうち {0} 件が未来のものです(最大 {2})",
    "set its clock, and that of this server, by NTP": "相手とこのサーバの時計を NTP で合わせてください",
    "set its clock and its time zone, and those of this server, by NTP":
        "相手とこのサーバの時計を NTP で合わせ、タイムゾーンも確かめてください",
    "{} of its {} newest studies declare no character set for what is not ASCII":
        "最近の検査 {1} 件のうち {0} 件は、ASCII 以外の文字があるのに文字集合を宣言していません",
    "{} of its {} newest studies are not written in the character set that they declare":
        "最近の検査 {1} 件のうち {0} 件は、宣言した文字集合で書かれていません",
    "{} of its {} newest studies declare a character set that nobody knows":
        "最近の検査 {1} 件のうち {0} 件は、知られていない文字集合を宣言しています",
    "what {} of its {} newest studies declare wrongly is read by {}":
        "最近の検査 {1} 件のうち {0} 件は宣言が正しくないため、{2} として読んでいます",
    "let it declare ISO_IR 192, or say what it means: pacs ae set {} --charset":
        "ISO_IR 192 などを宣言させるか、使っている文字集合を登録してください: pacs ae set {0} --charset",
    "its {} newest studies are written as they declare": "最近の検査 {0} 件は、宣言した文字集合で書かれています",
    "it may have objects moved to {}, which has no address": "移動先として許した {0} に、アドレスがありません",
    "pacs ae add or set {}, with its host and port": "pacs ae add または set で {0} のホストとポートを登録してください",
    "it may have objects moved, but not to itself: it has no address here":
        "移動を許していますが、アドレスの登録がないので自分自身へは移動できません",
    "if it should: pacs ae set {} --host H --port P": "移動させるなら: pacs ae set {0} --host H --port P",
    "{} objects wait for it since {}: {}": "{1} から {0} 件が送信を待っています: {2}",
    "when that is mended: pacs send retry --to {}": "直したあとで: pacs send retry --to {0}",
    "{} objects wait for it, {} were sent": "{0} 件が送信を待ち、{1} 件を送りました",
    "it refused {} objects for good: {}": "{0} 件は受け取りを断られました: {1}",
    "pacs send list, then pacs send retry --to {} or pacs send drop":
        "pacs send list で確かめ、pacs send retry --to {0} か pacs send drop を実行してください",
    "it cannot send back what it is not sent: leave out --no-store, or --send-back":
        "送らないものは送り返せません。--no-store か --send-back のどちらかだけにしてください",
}  # fmt: skip

CAUSES: Final[dict[str, str]] = {
    **WHY_A_CHECK,
    **WHY_A_CONNECTION,
    **WHY_A_COPY,
    **WHY_A_DATABASE,
    **WHY_AN_EXCHANGE,
    **WHY_AN_OBJECT,
    **WHY_A_PART,
    **WHY_A_SITE,
    **WHY_A_VALUE,
    **CAUSES_OF_THE_LIBRARY,
    **OF_REFUSALS,
    **OF_WHAT_IS_ADDED,
    "{} cannot be read: {}": "{0} を読めません ({1})",
    # why a file is not taken in, or how it was read
    "not a regular file": "通常のファイルではありません",
    "not a DICOM file: neither file meta information nor a data set":
        "DICOM ファイルではありません (ファイルメタ情報もデータセットもありません)",
    "a ZIP file: unpack it, and import that": "ZIP ファイルです。展開してから取り込んでください",
    "a DICOMDIR, not an object": "DICOMDIR で、オブジェクトではありません",
    "its preamble was not empty and was left out": "プリアンブルが空でなかったので、それを除きました",
    "no file meta information tells its transfer syntax: it was read as {}":
        "転送構文を示すファイルメタ情報がないので、{0} として読みました",
    "its file meta information names another SOP class or instance than its data set, which was believed":
        "ファイルメタ情報の SOP クラスか SOP インスタンスがデータセットと違うので、データセットに従いました",
    "cannot be read: {}": "読めません ({0})",
    # what a service manager handed over, and what the socket unit has to say
    "something that is no socket": "ソケットではないもの",
    "a TCP socket that does not listen": "待ち受けていない TCP ソケット",
    "a socket of {}": "{0} のソケット",
    "ListenStream=PORT alone": "ListenStream=PORT だけ",
    "ListenStream= with a port, or an address and a port": "ListenStream= にポート、またはアドレスとポート",
    "ListenStream=PORT, not ListenDatagram= or another": "ListenDatagram= などではなく ListenStream=PORT",
    "ListenStream=PORT, and no Accept=yes": "ListenStream=PORT。Accept=yes は書かない",
    "{} rejected the association of {}: {}": "{0} は {1} のアソシエーションを拒否しました ({2})",
    "{} did not answer the association request within {}": "{0} は {1} 以内にアソシエーション要求に答えませんでした",
    "{} gave no answer to the association request: {}": "{0} はアソシエーション要求に答えませんでした ({1})",
    "{} gave no valid answer to the association request: {}": "{0} のアソシエーション要求への答えが正しくありません ({1})",
    "{} refused the connection: nothing listens on that port": "{0} は接続を拒否しました。そのポートでは何も待ち受けていません",
    "{} did not answer within {} s: it is down, or a firewall drops the packets":
        "{0} は {1} 秒以内に答えませんでした。止まっているか、ファイアウォールで遮られています",
    "{} cannot be reached: {}": "{0} に届きません ({1})",
    "{}: no name server told the address of {} within {} s":
        "{0}: {1} のアドレスを {2} 秒以内に答えるネームサーバがありません",
    "{} refused the connection: start what shall listen there, or correct alert.webhook.url":
        "{0} は接続を拒否しました。そこで待ち受けるものを起動するか、alert.webhook.url を直してください",
    "{} has a certificate that is not trusted: {}: name its authority as alert.webhook.ca_file":
        "{0} の証明書を信頼できません ({1})。その認証局を alert.webhook.ca_file に書いてください",
    "{} does not answer: {}: check alert.webhook.url, that it is running, and the firewalls between":
        "{0} が応答しません ({1})。alert.webhook.url が正しいこと、相手が動いていること、途中のファイアウォールを確かめてください",
    "{} answers {} {}: look into its log, or correct alert.webhook.url":
        "{0} は {1} {2} と答えました。相手のログを見るか、alert.webhook.url を直してください",
    "{} takes a user and a password of ASCII letters alone: choose such ones":
        "{0} の利用者名とパスワードは ASCII 文字だけです。そのようなものにしてください",
    "{} does not take the mail: {}": "{0} がメールを受け取りません: {1}",
    "{} cannot be run: {}": "{0} を実行できません: {1}",
    "{} did not end within {} s": "{0} が {1} 秒以内に終わりませんでした",
    "{} ended with {} and said nothing: try it by hand, as the user of the server":
        "{0} が何も出力せずに終了コード {1} で終わりました。サーバの利用者で、手で実行して確かめてください",
    "{} ended with {}: {}": "{0} が終了コード {1} で終わりました: {2}",
    "{} is not called: {}": "{0} には接続しません ({1})",
    "{} accepts no presentation context for {}: allow it there for {}":
        "{0} は {1} のプレゼンテーションコンテキストを受け入れません。相手側で {2} に許可してください",
    "{} ended the query with status 0x{}": "{0} は検索を状態 0x{1} で終えました",
    # why a peer rejected an association
    "no reason given": "理由は示されていません",
    "user identity not accepted, or no reason given": "利用者が認められないか、理由が示されていません",
    "application context name not supported": "アプリケーションコンテキスト名に対応していません",
    "calling AE title not recognised": "呼び出し元の AE タイトルが知られていません",
    "called AE title not recognised": "呼び出し先の AE タイトルが違います",
    "protocol version not supported": "プロトコルの版に対応していません",
    "temporary congestion": "一時的に混み合っています",
    "local limit exceeded: too many associations at once, of all or of this peer":
        "上限を超えました。全体またはこの相手の同時アソシエーションが多すぎます",
    "source {}, reason {}": "発生元 {0}、理由 {1}",
    "{} (it may accept later)": "{0}、後で受け入れるかもしれません",
    "the peer aborted instead of answering the association request": "答えの代わりに A-ABORT が届きました",
    "the peer closed the connection": "相手が接続を閉じました",
    "the connection broke: {}": "接続が切れました: {0}",
    "not DICOM: it speaks TLS, which has a port of its own":
        "DICOM ではなく TLS を使っています。TLS には別のポートがあります",
    # TLS
    "TLS with {} failed: {}": "{0} との TLS に失敗しました ({1})",
    "the other side ended TLS ({}): does it trust the certificate of this node?":
        "相手が TLS を終えました ({0})。このサーバの証明書を信頼していますか",
    "the other side speaks no TLS that is spoken here ({}): 1.2 or 1.3 with ECDHE is needed there":
        "相手とこのサーバに共通の TLS がありません ({0})。相手で TLS 1.2 か 1.3 (ECDHE) を有効にしてください",
    "the certificate of the other side is not trusted: {}": "相手の証明書を信頼できません: {0}",
    "the other side does not speak TLS as it should: {}": "相手の TLS が正しくありません: {0}",
    "the other side speaks no TLS ({}): DICOM without it has a port of its own":
        "相手は TLS を使っていません ({0}): TLS なしの DICOM には別のポートがあります",
    "it has the certificate {}, not the one that was pinned": "相手の証明書は {0} で、登録したものと違います",
    "the other side closed the connection": "相手が接続を閉じました",
    # why we rejected one
    "it called {}, not {}": "{1} ではなく {0} を呼び出しました",
    "it is not registered: pacs ae approve {}, or pacs ae add":
        "登録されていません。登録するには: pacs ae approve {0} または pacs ae add",
    "it is not registered for this address": "このアドレスでは登録されていません",
    "nobody tells the address of {} now, from where it may call":
        "接続元として登録したホスト名 {0} のアドレスを、今は確かめられません",
    "it has to show the certificate that is pinned for it, and showed another one":
        "登録したものと違う証明書を示しました",
    "it has to show the certificate that is pinned for it, and showed none": "登録した証明書を示しませんでした",
    "it has to show the certificate that is pinned for it, and showed no TLS":
        "登録した証明書を示す必要がありますが、TLS ではありませんでした",
    "its user has to log in, which is done over TLS alone": "利用者のログインが必要ですが、TLS ではありませんでした",
    "its user has to log in with a name and a passcode; it gave nobody":
        "名前とパスコードでのログインが必要ですが、利用者が示されていません",
    "its user has to log in with a token; it gave nobody":
        "トークンでのログインが必要ですが、利用者が示されていません",
    "its user has to log in with a name and a passcode; it gave {}":
        "名前とパスコードでのログインが必要ですが、示されたのは {0} でした",
    "its user has to log in with a token; it gave {}": "トークンでのログインが必要ですが、示されたのは {0} でした",
    "a name and a passcode": "名前とパスコード",
    "a token": "トークン",
    "too many users log in at once": "同時にログインする利用者が多すぎます",
    "too many wrong attempts to log in came from its address": "そのアドレスからのログインの失敗が多すぎます",
    "there is no such user, or the passcode is wrong": "利用者が登録されていないか、パスコードが違います",
    "the user may not log in there: pacs user set {} --peer {}":
        "利用者はそこでのログインを許されていません。許すなら: pacs user set {0} --peer {1}",
    "its user identity is of a type that nobody knows, is too long, or ends before it should":
        "利用者の情報が未知の種類か、長すぎるか、途中で終わっています",
    "its token is not believed: {}": "トークンを受け入れられません ({0})",
    "its claim {} names nobody": "クレーム {0} が誰も示していません",
    "its claim {} has {} characters, and a person at most {}: have the issuer send a shorter one, or name another claim "
    "as identity.jwt.user_claim":
        "クレーム {0} が {1} 文字あります。{2} 文字までです。発行者に短くさせるか、別のクレームを identity.jwt.user_claim に書いてください",
    "its claim {} does not have {} in it": "クレーム {0} に {1} がありません",
    "it is not one of ours: {}": "こちらのためのものではありません: {0}",
    "it was signed with none of the keys of identity.jwt.key_files":
        "identity.jwt.key_files のどの鍵の署名でもありません",
    "its times are no numbers": "時刻が数ではありません",
    "it ended {} s ago": "{0} 秒前に期限が切れました",
    "it begins in {} s: are both clocks right?": "{0} 秒後から有効です。両方の時計は合っていますか",
}  # fmt: skip
