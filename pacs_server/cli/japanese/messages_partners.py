"""What is said of partners, and of the certificates by which they are known: a part of the Japanese messages."""

from __future__ import annotations

from typing import Final

OF_PARTNERS: Final[dict[str, str]] = {
    "added partner {}": "相手サーバ {0} を登録しました",
    "changed partner {}": "相手サーバ {0} を変更しました",
    "forgot partner {}": "相手サーバ {0} の登録を消しました",
    "partner {} {}": "相手サーバ {0}: {1}",
    "it does not answer yet: {}": "まだ応答がありません: {0}",
    "there, this node is pinned by --fingerprint {}": "相手側では、このサーバを --fingerprint {0} で登録します",
    "there is no partner: this archive stands alone": "相手サーバの登録はありません。このアーカイブは単独です",
    "there is no partner {}; pacs partner list shows those there are":
        "相手サーバ {0} はありません。pacs partner list で確認できます",
    "there is a partner {} already; change it with: pacs partner set {}":
        "相手サーバ {0} はすでにあります。変更するには: pacs partner set {1}",
    "that certificate is pinned for the partner {} already": "その証明書はすでに相手サーバ {0} のものとして登録されています",
    "that is the certificate of this node itself; pacs tls show prints the other's there":
        "それはこのサーバ自身の証明書です。相手側で pacs tls show を実行してください",
    "{} has the certificate {}, not the one that was pinned; nothing was changed":
        "{0} の証明書は {1} で、登録しようとしたものと違います。何も変えていません",
    "would forget partner {}, with which nothing would be exchanged any more; do it with --yes":
        "相手サーバ {0} の登録を消すと、やり取りがなくなります。実行するには --yes を付けてください",
    "keep {} secret, and a copy of it in a safe place: who has it can make certificates":
        "{0} は秘密にし、写しを安全な場所に保管してください。これを持つ人は証明書を作れます",
    "peers that check certificates need {}, and nothing else": "証明書を確かめる接続相手に渡すのは {0} だけです",
    "partners pin this node by {}": "相手サーバはこのサーバを {0} で見分けます",
    "{} exists; a new certificate has another fingerprint, which every partner has to pin; replace it with --yes":
        "{0} があります。新しい証明書はフィンガープリントが変わり、すべての相手サーバで登録し直す必要があります。置き換えるには --yes を付けてください",
    "the certificate {} is not valid before {} UTC, by the clock here":
        "証明書 {0} は、この機械の時計では {1} UTC まで有効になりません",
    "the certificate {} has expired": "証明書 {0} は期限が切れています",
    "the certificate {} expires in {} days": "証明書 {0} はあと {1} 日で期限が切れます",
    "this node has no certificate: {}: {}; pacs tls init makes one":
        "このサーバには証明書がありません: {0}: {1}。pacs tls init で作れます",
}  # fmt: skip
