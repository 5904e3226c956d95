-- What protect makes where it may create event triggers. Every user's statement that defines something runs through
-- noted(), so nothing in it may fail that statement, and what it waits for is bounded.

-- First of all, so that those that stand do not tell of what follows.
DROP EVENT TRIGGER IF EXISTS @schema@_start;
DROP EVENT TRIGGER IF EXISTS @schema@_ddl;
DROP EVENT TRIGGER IF EXISTS @schema@_drop;

CREATE SCHEMA IF NOT EXISTS @schema@;
COMMENT ON SCHEMA @schema@ IS 'Keepsake captures the changes of this database; keepsake unprotect removes this schema.';

-- The one to which users' sessions come: it hands their search_path on, which note() cannot see.
CREATE OR REPLACE FUNCTION @schema@.noted() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER AS $keepsake$
BEGIN
    PERFORM @schema@.note(TG_EVENT, TG_TAG, pg_catalog.current_setting('search_path'));
EXCEPTION WHEN OTHERS THEN
    RAISE LOG 'keepsake: % was not noted: %', TG_TAG, SQLERRM;
END $keepsake$;

CREATE OR REPLACE FUNCTION @schema@.note(event text, tag text, path text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
SET extra_float_digits = 3 AS $keepsake$
DECLARE
    -- Of our own publications: who belongs to them is ours to say.
    our_publication CONSTANT text := '(^| )keepsake_[a-z0-9_]+$';
    -- Whoever may read the log, or has a slot of their own in this database, may read what is told: of what may hold a
    -- password the statement is not.
    secret CONSTANT text := E'\\m(create|alter)\\s+(role|user|group|server|subscription|foreign\\s+data\\s+wrapper)\\M'
        '|password\\s*(=|'')';
    statement CONSTANT text := left(current_query(), 65536);
    objects text[];
    touched oid[];
    change record;
    before CONSTANT text := nullif(current_setting('keepsake_capture.before', true), '');
    after text;
BEGIN
    IF event = 'sql_drop' THEN
        SELECT array_agg(concat_ws(' ', o.object_type, o.object_identity)) INTO objects
        FROM pg_event_trigger_dropped_objects() o
        WHERE o.original AND NOT o.is_temporary
          AND NOT (o.object_type LIKE 'publication%' AND o.object_identity ~ our_publication);
        -- Whose key or column went. An index names no table; without a constraint it can be an identity only by being chosen.
        touched := ARRAY(
            SELECT c.oid FROM pg_event_trigger_dropped_objects() o
            JOIN pg_namespace n ON n.nspname = o.address_names[1]
            JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = o.address_names[2]
            WHERE o.object_type IN ('table constraint', 'table column')
            UNION
            SELECT c.oid FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
            WHERE c.relreplident = 'i'
              AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o WHERE o.object_type = 'index'));
    ELSE
        SELECT array_agg(concat_ws(' ', lower(o.object_type), o.object_identity)),
               array_agg(o.objid) FILTER (WHERE o.classid = 'pg_class'::regclass)
        INTO objects, touched
        FROM pg_event_trigger_ddl_commands() o
        WHERE o.schema_name IS DISTINCT FROM 'pg_temp' AND tag NOT IN ('REFRESH MATERIALIZED VIEW', 'REINDEX')
          AND NOT (o.object_type LIKE 'publication%' AND o.object_identity ~ our_publication);
    END IF;
    IF objects IS NULL THEN
        RETURN;
    END IF;
    -- What took a default away tells of the table at its end.
    IF event = 'sql_drop' AND tag = 'ALTER TABLE'
        AND (SELECT bool_and(o.object_type = 'default value') FROM pg_event_trigger_dropped_objects() o WHERE o.original) THEN
        RETURN;
    END IF;

    -- What was touched, with all that inherits from it: a parent's key makes keys of its partitions.
    FOR change IN
        WITH RECURSIVE family (oid) AS (SELECT unnest(touched)
            UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON i.inhparent = f.oid)
        SELECT p.pubname, n.nspname, c.relname, r.oid IS NULL AS is_new
        FROM pg_publication p CROSS JOIN family f JOIN pg_class c ON c.oid = f.oid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
        WHERE p.pubname LIKE 'keepsake\_%' AND pg_has_role(p.pubowner, 'USAGE')
          AND c.relkind = 'r' AND c.relpersistence <> 't' AND @user_schemas@
          AND (r.oid IS NULL) = (@state@ = 'captured')
    LOOP
        BEGIN
            EXECUTE format('ALTER PUBLICATION %I %s TABLE ONLY %I.%I', change.pubname,
                           CASE WHEN change.is_new THEN 'ADD' ELSE 'DROP' END, change.nspname, change.relname);
        EXCEPTION WHEN lock_not_available THEN
            -- One wait for the whole statement, however many tables it touches. The next boundary sees to them.
            RAISE LOG 'keepsake: publication % is locked by another transaction and stays as it is', change.pubname;
            EXIT;
        WHEN OTHERS THEN
            -- The next boundary sees to it.
            RAISE LOG 'keepsake: publication % stays as it is: %', change.pubname, SQLERRM;
        END;
    END LOOP;

    -- Only of statements that may be told as a whole: what was dropped is told once more at the statement's end.
    IF event = 'ddl_command_end' AND before IS NOT NULL AND tag IN (@tags@) THEN
        after := @schema@.fingerprint();
    END IF;
    -- In UTF-8 whatever the database's encoding. Names and statement are bounded: a migration may be of any length.
    PERFORM pg_logical_emit_message(true, '@prefix@', convert_to(jsonb_build_object(
        'command', tag, 'objects', to_jsonb(objects[:50]), 'objects_total', cardinality(objects),
        'statement', CASE WHEN statement !~* secret THEN statement END, 'search_path', path,
        'role', CASE current_setting('role') WHEN 'none' THEN session_user::text ELSE current_setting('role') END,
        'inherits', EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = ANY (touched) OR i.inhrelid = ANY (touched)),
        'granted', tag LIKE 'CREATE%' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY (touched) AND c.relacl IS NOT NULL),
        -- What rows that were there hold in columns that the statement adds. It may name others that were added earlier.
        'filled', CASE WHEN after IS NOT NULL AND tag = 'ALTER TABLE' AND statement !~* secret THEN (
            SELECT jsonb_object_agg(f.attname, f.value) FROM (
                SELECT a.attname, (a.attmissingval::text::text[])[1] AS value FROM pg_attribute a
                WHERE a.attrelid = ANY (touched) AND a.atthasmissing AND NOT a.attisdropped
                  AND position(lower(a.attname) IN lower(statement)) > 0
                  AND length(a.attmissingval::text) <= 1000 AND a.attmissingval::text !~* secret
                ORDER BY a.attnum DESC LIMIT 50) f) END,
        'before', CASE WHEN after IS NOT NULL THEN before END, 'after', after, 'format', @format@
    )::text, 'UTF8'));
    -- The server puts a message where its record ends, which is where the next one begins; and of two of one place, one of them in the
    -- subtransaction that noted() is, either may come first. So that the message never comes behind a row that was written later,
    -- the next record is none of a row.
    PERFORM pg_logical_emit_message(true, '@prefix@.end', '');
END $keepsake$;

-- What the schema was when the statement began. That costs time, so only for what a client sends as one of these statements: others
-- cannot be run again by themselves, and who makes temporary tables all day must not notice.
CREATE OR REPLACE FUNCTION @schema@.looked() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER AS $keepsake$
BEGIN
    PERFORM pg_catalog.set_config('keepsake_capture.before', CASE
        WHEN pg_catalog.current_query() OPERATOR(pg_catalog.~*)
            '^[[:space:]]*(create[[:space:]]+(table|(unique[[:space:]]+)?index)|alter[[:space:]]+table|comment)[[:space:]]'
            -- Whoever bounds a statement by less than ten seconds does not wait for us within that bound.
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_settings s
                WHERE s.name OPERATOR(pg_catalog.=) ANY ('{statement_timeout,transaction_timeout}'::text[])
                  AND s.setting::bigint BETWEEN 1 AND 9999)
        THEN coalesce(@schema@.fingerprint(), '') ELSE '' END, true);
EXCEPTION WHEN OTHERS THEN
    PERFORM pg_catalog.set_config('keepsake_capture.before', '', true);
    RAISE LOG 'keepsake: before % nothing was looked at: %', TG_TAG, SQLERRM;
END $keepsake$;

-- The fingerprint that each boundary takes, with its settings; NULL where it would take long. 3,000 objects are some 300 tables
-- with keys and large values, 30,000 columns of tables, indexes and types as many: 0.1 s, twice in each statement.
CREATE OR REPLACE FUNCTION @schema@.fingerprint() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET bytea_output = hex
SET extra_float_digits = 3 SET quote_all_identifiers = off SET "TimeZone" = 'UTC' SET row_security = off AS $keepsake$
BEGIN
    IF (SELECT count(*) FROM (SELECT FROM (SELECT oid FROM pg_class UNION ALL SELECT oid FROM pg_type
            UNION ALL SELECT oid FROM pg_proc) o WHERE o.oid >= 16384 LIMIT 3001) some_of_them) > 3000
        OR (SELECT count(*) FROM (SELECT FROM pg_attribute a WHERE a.attrelid >= 16384 LIMIT 30001) some_of_them) > 30000 THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT encode(sha256(string_agg(digest, '' ORDER BY digest)), 'hex') FROM (
        @rows@) AS every_row (digest));
END $keepsake$;

-- Made by another role, they would act with that one's rights.
ALTER FUNCTION @schema@.noted() OWNER TO CURRENT_USER;
ALTER FUNCTION @schema@.note(text, text, text) OWNER TO CURRENT_USER;
ALTER FUNCTION @schema@.looked() OWNER TO CURRENT_USER;
ALTER FUNCTION @schema@.fingerprint() OWNER TO CURRENT_USER;
REVOKE ALL ON FUNCTION @schema@.noted() FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.note(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.looked() FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.fingerprint() FROM PUBLIC;
CREATE EVENT TRIGGER @schema@_start ON ddl_command_start WHEN TAG IN (@tags@) EXECUTE FUNCTION @schema@.looked();
CREATE EVENT TRIGGER @schema@_ddl ON ddl_command_end EXECUTE FUNCTION @schema@.noted();
CREATE EVENT TRIGGER @schema@_drop ON sql_drop EXECUTE FUNCTION @schema@.noted();
-- Also for who works as a replica.
ALTER EVENT TRIGGER @schema@_start ENABLE ALWAYS;
ALTER EVENT TRIGGER @schema@_ddl ENABLE ALWAYS;
ALTER EVENT TRIGGER @schema@_drop ENABLE ALWAYS
