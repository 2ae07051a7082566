"""Exchange's default folders by their names, in the languages known here.

Nothing on the wire tells a folder's class, and names follow the mailbox's language. A name
counts only at the top level and in the language that the mailbox shows by at least two of
its own non-mail folders, so that a person's folder called ``Notes`` in a German mailbox is read.
Source: the default folder names of Outlook in each language.
"""

from collections.abc import Collection
from dataclasses import dataclass

from pipelines.sources.base import Role

_ENOUGH = 2
"""Non-mail folders of one language that show it to be the mailbox's."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a language calls the default folders; in lower case."""

    roles: dict[str, Role]
    non_mail: frozenset[str]


def _names(roles: str, non_mail: str) -> Names:
    """``roles``: sent, drafts, trash, junk, archive, outbox, in this order; ``/`` parts two names of one."""
    order = (Role.SENT, Role.DRAFTS, Role.TRASH, Role.JUNK, Role.ARCHIVE, Role.OUTBOX)
    by_name = {
        name: role
        for names, role in zip(roles.split(", "), order, strict=True)
        for name in names.casefold().split("/")
    }
    return Names(by_name, frozenset(non_mail.casefold().split(", ")))


ENGLISH = _names(
    "Sent Items, Drafts, Deleted Items, Junk Email/Junk E-mail, Archive, Outbox",
    "Calendar, Contacts, Tasks, Notes, Journal, Sync Issues",
)
LANGUAGES = (
    ENGLISH,
    _names(
        "Gesendete Elemente/Gesendete Objekte, Entwürfe, Gelöschte Elemente/Gelöschte Objekte, Junk-E-Mail, "
        "Archiv, Postausgang",
        "Kalender, Kontakte, Aufgaben, Notizen, Journal, Synchronisierungsprobleme",
    ),
    _names(
        "Éléments envoyés, Brouillons, Éléments supprimés, Courrier indésirable, Archive, Boîte d'envoi",
        "Calendrier, Contacts, Tâches, Notes, Journal, Problèmes de synchronisation",
    ),
    _names(
        "Elementos enviados, Borradores, Elementos eliminados, Correo no deseado, Archivo, Bandeja de salida",
        "Calendario, Contactos, Tareas, Notas, Diario, Problemas de sincronización",
    ),
    _names(
        "Posta inviata, Bozze, Posta eliminata, Posta indesiderata, Archivio, Posta in uscita",
        "Calendario, Contatti, Attività, Note, Diario, Problemi di sincronizzazione",
    ),
    _names(
        "Verzonden items, Concepten, Verwijderde items, Ongewenste e-mail, Archief, Postvak UIT",
        "Agenda, Contactpersonen, Taken, Notities, Logboek, Synchronisatieproblemen",
    ),
    _names(
        "Itens Enviados, Rascunhos, Itens Excluídos, Lixo Eletrônico, Arquivo Morto, Caixa de Saída",
        "Calendário, Contatos, Tarefas, Anotações, Diário, Problemas de Sincronização",
    ),
    _names(
        "Sendt post, Kladder, Slettet post, Uønsket mail, Arkiv, Udbakke",
        "Kalender, Kontaktpersoner, Opgaver, Noter, Journal, Synkroniseringsproblemer",
    ),
    _names(
        "Skickat, Utkast, Borttaget, Skräppost, Arkiv, Utkorgen",
        "Kalender, Kontakter, Uppgifter, Anteckningar, Journal, Synkroniseringsproblem",
    ),
    _names(
        "Sendte elementer, Kladd, Slettede elementer, Søppelpost, Arkiv, Utboks",
        "Kalender, Kontakter, Oppgaver, Notater, Logg, Synkroniseringsproblemer",
    ),
    _names(
        "Lähetetyt, Luonnokset, Poistetut, Roskaposti, Arkisto, Lähtevät",
        "Kalenteri, Yhteystiedot, Tehtävät, Muistiinpanot, Päiväkirja, Synkronointiongelmat",
    ),
    _names(
        "Elementy wysłane, Wersje robocze, Elementy usunięte, Wiadomości-śmieci, Archiwum, Skrzynka nadawcza",
        "Kalendarz, Kontakty, Zadania, Notatki, Dziennik, Problemy z synchronizacją",
    ),
)


def language_of(top_level: Collection[str]) -> Names | None:
    """The language that the folders at the top of a mailbox show; None where it is not clear."""
    present = {name.casefold() for name in top_level}
    scores = [len(names.non_mail & present) for names in LANGUAGES]
    best = max(scores)
    if best < _ENOUGH or scores.count(best) > 1:
        return None
    return LANGUAGES[scores.index(best)]
