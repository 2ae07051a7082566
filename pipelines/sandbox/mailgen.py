"""Generated business mail: threads, newsletters, invitations, bounces, attachments, many languages.

The same seed gives the same mail. Messages are put together as bytes, the way mail
programs of all kinds would: line breaks, encodings and long headers included.
"""

import random
from base64 import encodebytes
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.utils import format_datetime
from quopri import encodestring
from zlib import crc32

END = datetime(2026, 11, 1, 8, tzinfo=UTC)
YEARS = 3
_FOLDERS = {"Inbox": 55, "Sent Items": 18, "Archive": 12, "Projects/Köln": 5, "Projects/Relocation": 4}
_FOLDERS |= {"Deleted Items": 3, "Junk Email": 2, "Drafts": 1}
_PEOPLE = [
    ("Megan Bowen", "megan.bowen@contoso.com"),
    ("Lee Gu", "lee.gu@contoso.com"),
    ("Zoë Müller-Lüdenscheidt", "zoe.mueller@fabrikam.example"),
    ("Иван Петров", "ivan.petrov@litware.example"),
    ("山田 太郎", "taro.yamada@northwind.example"),
    ("O'Neil, Patricia", "patricia.o'neil@adatum.example"),
    ("Łukasz Żak", "lukasz.zak@tailspin.example"),
    ("Accounts Payable", "ap@wingtip.example"),
]
_TOPICS = [
    "Quarterly figures", "Contract renewal", "Office move", "Invoice 20{n:04d}", "Travel to Köln",
    "Budget 2027", "Server maintenance", "Candidate interview", "Angebot für Ihr Projekt", "Отчёт за квартал",
    "会議の件", "Réunion de lundi", "Customer visit", "Security review", "Price list",
]  # fmt: skip
_ENGLISH = [
    "Please find the figures for the last quarter below.",
    "The delivery to the warehouse is planned for Thursday morning.",
    "Could you have a look at the contract before our meeting?",
    "We have moved the deadline by one week.",
    "The supplier confirmed the price we agreed on.",
    "I have added my comments to the attached document.",
    "The train leaves at 8:14 from platform 7.",
    "This is the third reminder about the open invoice.",
]
_GERMAN = [
    "Vielen Dank für Ihre schnelle Rückmeldung, wir prüfen das Angebot.",
    "Die Lieferung nach Köln verzögert sich um zwei Tage.",
    "Könnten Sie die Preise für größere Mengen nennen?",
]
_FRENCH = [
    "Merci beaucoup pour votre réponse, à très bientôt.",
    "La réunion de lundi est reportée à mercredi.",
    "Veuillez trouver ci-joint la facture du mois d’août.",
]
_RUSSIAN = [
    "Мы получили ваш договор и вернёмся с ответом завтра.",
    "Счёт за октябрь оплачен.",
]
_JAPANESE = ["来週の会議の資料をお送りします。", "ご確認をよろしくお願いいたします。"]
_LANGUAGES = [_ENGLISH, _GERMAN, _FRENCH, _RUSSIAN, _JAPANESE]
_LANGUAGE_WEIGHTS = [60, 18, 10, 6, 6]
_CHARSETS = ("utf-8", "utf-8", "utf-8", "iso-8859-1", "windows-1252", "koi8-r", "iso-2022-jp")
_FILES = [
    ("offer.pdf", "application/pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
    ("Müller.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK\x03\x04"),
    ("photo.jpg", "image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"),
]
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class GeneratedMail:
    """A message, and how it lies in the mailbox."""

    mime: bytes
    folder: str
    received_at: datetime
    flags: frozenset[str]


def generate(address: str, messages: int, seed: int = 0) -> Iterator[GeneratedMail]:
    """``messages`` messages of a mailbox, oldest first."""
    writer = _Writer(address, random.Random(f"{seed} {address}"))
    step = timedelta(days=365 * YEARS) / max(messages, 1)
    start = END - step * messages
    for number in range(messages):
        moment = (start + step * number).replace(microsecond=0)
        yield writer.write(number, moment)


class _Writer:
    def __init__(self, address: str, rng: random.Random) -> None:
        self._address, self._rng = address, rng
        self._threads: list[tuple[str, list[str]]] = []

    def write(self, number: int, moment: datetime) -> GeneratedMail:
        rng = self._rng
        folder = rng.choices(list(_FOLDERS), list(_FOLDERS.values()))[0]
        sent = folder in ("Sent Items", "Drafts")
        me = (self._address.partition("@")[0].replace(".", " ").title(), self._address)
        sender = me if sent else rng.choice(_PEOPLE)
        message_id = f"<{rng.getrandbits(64):016x}.{number}@{sender[1].partition('@')[2]}>"
        subject, references = self._thread(message_id, number)
        headers = [] if sent else self._transport(moment, sender[1])
        headers += [
            b"Message-ID: " + message_id.encode(),
            b"Date: " + format_datetime(moment).encode(),
            _people_header("From", [sender]),
            _people_header("To", rng.sample(_PEOPLE, rng.choice((1, 1, 2, 4))) if sent else [me]),
            _text_header("Subject", subject),
        ]
        if references:
            headers.append(b"In-Reply-To: " + references[-1].encode())
            headers.append(b"References: " + "\r\n ".join(references[-8:]).encode())
        headers.append(b"MIME-Version: 1.0")
        mime = b"\r\n".join([*headers, self._body(number, moment, sender)])
        flags = {"seen"} if rng.random() < 0.8 else set()
        flags |= {"flagged"} if rng.random() < 0.05 else set()
        flags |= {"draft"} if folder == "Drafts" else set()
        return GeneratedMail(mime, folder, moment + timedelta(seconds=rng.randrange(1, 90)), frozenset(flags))

    def _thread(self, message_id: str, number: int) -> tuple[str, list[str]]:
        rng = self._rng
        if self._threads and rng.random() < 0.45:
            subject, ids = rng.choice(self._threads[-40:])
            references = list(ids)
            ids.append(message_id)
            return f"Re: {subject}", references
        subject = rng.choice(_TOPICS).format(n=number)
        self._threads.append((subject, [message_id]))
        return subject, []

    def _transport(self, moment: datetime, sender: str) -> list[bytes]:
        """What Exchange puts in front of a message on its way in."""
        rng = self._rng
        host = f"AM{rng.randrange(10)}PR{rng.randrange(100):02d}MB{rng.randrange(10000):04d}"
        stamp = format_datetime(moment)
        report = "".join(
            rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=900)
        )
        folded = "\r\n ".join(report[start : start + 72] for start in range(0, len(report), 72))
        return [
            f"Received: from {host}.eurprd05.prod.outlook.com (2603:10a6:800::20)\r\n"
            f" by {host}.eurprd05.prod.outlook.com with HTTPS; {stamp}".encode(),
            f"Authentication-Results: spf=pass smtp.mailfrom={sender.partition('@')[2]};\r\n"
            f" dkim=pass (signature was verified) header.d={sender.partition('@')[2]};dmarc=pass".encode(),
            f"X-Microsoft-Antispam-Message-Info:\r\n {folded}".encode(),
            b"X-MS-Exchange-Organization-SCL: 1",
        ]

    def _body(self, number: int, moment: datetime, sender: tuple[str, str]) -> bytes:
        rng = self._rng
        kinds = {
            self._plain: 30, self._alternative: 34, self._attached: 18, self._inline_image: 5,
            self._newsletter: 6, self._forwarded: 3,
        }  # fmt: skip
        if number % 37 == 5:
            return _invitation(self._text(2), moment, sender[1], self._address, number)
        if number % 53 == 7:
            return _bounce(self._address)
        return rng.choices(list(kinds), list(kinds.values()))[0]()

    def _text(self, paragraphs: int) -> str:
        rng = self._rng
        sentences = rng.choices(_LANGUAGES, _LANGUAGE_WEIGHTS)[0]
        return "\r\n\r\n".join(
            " ".join(rng.choice(sentences) for _ in range(rng.randrange(2, 7))) for _ in range(paragraphs)
        )

    def _plain(self) -> bytes:
        return _text_part(self._text(self._rng.randrange(1, 6)), "plain", self._rng)

    def _alternative(self) -> bytes:
        text = self._text(self._rng.randrange(2, 9))
        return _multipart("alternative", [_text_part(text, "plain", self._rng), _html_part(text, self._rng)])

    def _attached(self) -> bytes:
        rng = self._rng
        text = _text_part(self._text(2), "plain", rng)
        name, media, start = rng.choice(_FILES)
        content = start + rng.randbytes(int(rng.lognormvariate(9.5, 1.2)))
        return _multipart("mixed", [text, _file_part(name, media, content, "attachment")])

    def _inline_image(self) -> bytes:
        html = _html_part(self._text(2), self._rng, image="logo@contoso.com")
        image = _file_part(
            "logo.png", "image/png", _PNG + self._rng.randbytes(1800), "inline", "logo@contoso.com"
        )
        return _multipart("related", [html, image])

    def _newsletter(self) -> bytes:
        listed = (
            b"List-Id: Contoso News <news.contoso.com>\r\nList-Unsubscribe: <mailto:leave@contoso.com>\r\n"
        )
        return listed + b"Precedence: bulk\r\n" + self._alternative()

    def _forwarded(self) -> bytes:
        inner = (
            b"From: Old Friend <friend@fabrikam.example>\r\nTo: " + self._address.encode() + b"\r\n"
            b"Subject: The original\r\nDate: Tue, 3 Jun 2025 10:00:00 +0200\r\n"
            b"Message-ID: <" + f"{self._rng.getrandbits(64):016x}".encode() + b"@fabrikam.example>\r\n"
            b"MIME-Version: 1.0\r\n" + self._plain()
        )
        part = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + inner
        return _multipart("mixed", [_text_part("See below.", "plain", self._rng), part])


def _text_header(name: str, value: str) -> bytes:
    encoded = value if value.isascii() else Header(value, "utf-8", maxlinelen=70).encode(linesep="\r\n")
    return f"{name}: {encoded}".encode()


def _people_header(name: str, people: list[tuple[str, str]]) -> bytes:
    shown = []
    for display, address in people:
        plain = f'"{display}"' if "," in display or "'" in display else display
        shown.append(f"{plain if display.isascii() else Header(display, 'utf-8').encode()} <{address}>")
    return f"{name}: {(',' + chr(13) + chr(10) + ' ').join(shown)}".encode()


def _text_part(text: str, subtype: str, rng: random.Random) -> bytes:
    charset = rng.choice(_CHARSETS)
    try:
        content = text.encode(charset)
    except UnicodeEncodeError:
        charset, content = "utf-8", text.encode()
    encoding = rng.choice(("quoted-printable", "base64", "8bit"))
    if encoding == "quoted-printable":
        content = encodestring(content).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    elif encoding == "base64":
        content = encodebytes(content).replace(b"\n", b"\r\n")
    return (
        f'Content-Type: text/{subtype}; charset="{charset}"\r\n'
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode()
        + content
        + b"\r\n"
    )


def _html_part(text: str, rng: random.Random, image: str | None = None) -> bytes:
    paragraphs = "".join(f"<p class=MsoNormal>{each}</p>\r\n" for each in text.split("\r\n\r\n"))
    picture = f'<img src="cid:{image}" alt="Contoso">' if image else ""
    page = (
        "<html><head><style>p.MsoNormal {margin:0cm; font-size:11.0pt; font-family:Calibri}</style></head>"
        f'<body lang=EN-GB>\r\n{paragraphs}<a href="https://contoso.com/news">More</a>{picture}</body></html>'
    )
    return _text_part(page, "html", rng)


def _file_part(name: str, media: str, content: bytes, disposition: str, cid: str | None = None) -> bytes:
    shown = f'filename="{name}"' if name.isascii() else "filename*=utf-8''" + _percent(name)
    content_id = f"Content-ID: <{cid}>\r\n" if cid else ""
    head = (
        f"Content-Type: {media}\r\nContent-Disposition: {disposition}; {shown}\r\n{content_id}"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return head.encode() + encodebytes(content).replace(b"\n", b"\r\n")


def _percent(text: str) -> str:
    return "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}" for byte in text.encode()
    )


def _multipart(subtype: str, parts: list[bytes]) -> bytes:
    boundary = f"_000_{crc32(parts[0]):08X}{subtype}_".encode()
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    head = f"Content-Type: multipart/{subtype};\r\n\tboundary=".encode() + b'"' + boundary + b'"\r\n\r\n'
    return head + body + b"--" + boundary + b"--\r\n"


def _invitation(text: str, moment: datetime, organiser: str, attendee: str, number: int) -> bytes:
    start = moment + timedelta(days=3)
    event = "\r\n".join(
        [
            "BEGIN:VCALENDAR", "METHOD:REQUEST", "PRODID:Microsoft Exchange Server 2010", "VERSION:2.0",
            "BEGIN:VEVENT", f"ORGANIZER:mailto:{organiser}", f"ATTENDEE:mailto:{attendee}",
            f"UID:040000008200E00074C5B7101A82E008{number:08X}", "SUMMARY:Project meeting",
            f"DTSTART:{start:%Y%m%dT%H%M%SZ}", f"DTEND:{start + timedelta(hours=1):%Y%m%dT%H%M%SZ}",
            "END:VEVENT", "END:VCALENDAR", "",
        ]
    )  # fmt: skip
    calendar = (
        "Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n" + event
    ).encode()
    plain = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return _multipart("alternative", [plain + text.encode(), calendar])


def _bounce(address: str) -> bytes:
    status = (
        "Reporting-MTA: dns;AM0PR05MB0001.eurprd05.prod.outlook.com\r\n\r\n"
        "Final-Recipient: rfc822;nobody@fabrikam.example\r\nAction: failed\r\nStatus: 5.1.10\r\n"
        "Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound\r\n"
    )
    parts = [
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\nYour message could not be delivered.\r\n",
        b"Content-Type: message/delivery-status\r\n\r\n" + status.encode(),
        b"Content-Type: text/rfc822-headers\r\n\r\nFrom: " + address.encode() + b"\r\nSubject: Lost\r\n",
    ]
    return _multipart("report", parts).replace(
        b"multipart/report;", b"multipart/report; report-type=delivery-status;"
    )
