-- The WedSync sample, after its rows: keys, sequences, indexes, functions, triggers, policies, views, grants.
ALTER TABLE user_profiles ADD PRIMARY KEY (id);
ALTER TABLE vendors ADD PRIMARY KEY (id);
ALTER TABLE suppliers ADD PRIMARY KEY (id);
ALTER TABLE vendor_availability ADD PRIMARY KEY (id);
ALTER TABLE weddings ADD PRIMARY KEY (id);
ALTER TABLE vendor_bookings ADD PRIMARY KEY (wedding_id, vendor_id);
ALTER TABLE guests ADD PRIMARY KEY (id);
ALTER TABLE timeline_events ADD PRIMARY KEY (id);
ALTER TABLE forms ADD PRIMARY KEY (id);
ALTER TABLE client_data ADD PRIMARY KEY (id);
ALTER TABLE photos ADD PRIMARY KEY (id);
ALTER TABLE messages ADD PRIMARY KEY (id);
ALTER TABLE contracts ADD PRIMARY KEY (id);
ALTER TABLE gift_registry ADD PRIMARY KEY (id);
ALTER TABLE "Gästebuch – Sitzplätze" ADD CONSTRAINT "Sitzplatz Schlüssel" PRIMARY KEY ("WeddingId", "Tisch Nr");
ALTER TABLE audit.audit_logs ADD PRIMARY KEY (occurred_at, id);
ALTER TABLE audit.change_history ADD PRIMARY KEY (entity, id);

ALTER TABLE user_profiles ADD CONSTRAINT one_profile_per_address UNIQUE (email);
ALTER TABLE vendor_bookings ADD UNIQUE (invoice_number);
ALTER TABLE contracts ADD UNIQUE (document);
ALTER TABLE vendor_availability ADD CONSTRAINT periods_do_not_overlap
    EXCLUDE USING gist (int4range(vendor_id, vendor_id, '[]') WITH &&, period WITH &&);

-- gift_registry is empty: its sequence has not been called, and that too is a state to keep.
SELECT setval('vendors_id_seq', (SELECT max(id) FROM vendors)),
       setval('suppliers_id_seq', (SELECT max(id) FROM suppliers)),
       setval('vendor_availability_id_seq', (SELECT max(id) FROM vendor_availability)),
       setval('guests_id_seq', (SELECT max(id) FROM guests)),
       setval('timeline_events_id_seq', (SELECT max(id) FROM timeline_events)),
       setval('client_data_id_seq', (SELECT max(id) FROM client_data)),
       setval('contracts_id_seq', (SELECT max(id) FROM contracts)),
       setval('invoice_number_seq', (SELECT max(invoice_number) FROM vendor_bookings)),
       setval('audit.audit_logs_id_seq', (SELECT max(id) FROM audit.audit_logs));

ALTER TABLE suppliers ADD FOREIGN KEY (vendor_id) REFERENCES vendors ON DELETE SET NULL;
ALTER TABLE vendor_availability ADD FOREIGN KEY (vendor_id) REFERENCES vendors ON DELETE CASCADE;
ALTER TABLE weddings ADD FOREIGN KEY (owner_id) REFERENCES user_profiles;
ALTER TABLE weddings ADD FOREIGN KEY (planner_id) REFERENCES user_profiles;
ALTER TABLE weddings ADD FOREIGN KEY (venue_id) REFERENCES vendors;
ALTER TABLE vendor_bookings ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE vendor_bookings ADD FOREIGN KEY (vendor_id) REFERENCES vendors;
ALTER TABLE guests ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE guests ADD FOREIGN KEY (plus_one_of) REFERENCES guests ON DELETE SET NULL;
-- The circle: a wedding belongs to its contact, who is a guest of it.
ALTER TABLE weddings ADD CONSTRAINT weddings_primary_contact_fkey FOREIGN KEY (primary_contact) REFERENCES guests
    ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE timeline_events ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE timeline_events ADD FOREIGN KEY (vendor_id) REFERENCES vendors;
ALTER TABLE forms ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE client_data ADD FOREIGN KEY (form_id) REFERENCES forms ON DELETE CASCADE;
ALTER TABLE client_data ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE client_data ADD FOREIGN KEY (guest_id) REFERENCES guests ON DELETE SET NULL;
ALTER TABLE photos ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE photos ADD FOREIGN KEY (uploaded_by) REFERENCES user_profiles ON DELETE SET NULL;
ALTER TABLE messages ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE messages ADD FOREIGN KEY (sender_id) REFERENCES user_profiles;
ALTER TABLE messages ADD FOREIGN KEY (guest_id) REFERENCES guests ON DELETE SET NULL;
ALTER TABLE contracts ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE "Gästebuch – Sitzplätze" ADD FOREIGN KEY ("WeddingId") REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE gift_registry ADD FOREIGN KEY (wedding_id) REFERENCES weddings ON DELETE CASCADE;
ALTER TABLE gift_registry ADD FOREIGN KEY (reserved_by) REFERENCES guests ON DELETE SET NULL;
ALTER TABLE audit.audit_logs ADD FOREIGN KEY (actor) REFERENCES user_profiles;

CREATE FUNCTION normalised_name(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    RETURN lower(regexp_replace(btrim(name), '\s+', ' ', 'g'));

CREATE UNIQUE INDEX weddings_slug_key ON weddings (lower(slug));
CREATE INDEX weddings_planned ON weddings (wedding_date) INCLUDE (title) WHERE status IN ('planning', 'confirmed');
CREATE INDEX weddings_celebration ON weddings USING gist (celebration);
CREATE INDEX guests_of_wedding ON guests (wedding_id, last_name);
CREATE INDEX guests_awaited ON guests (wedding_id) WHERE rsvp IN ('pending', 'no reply');
CREATE INDEX guests_by_name ON guests (normalised_name(last_name), normalised_name(first_name));
CREATE INDEX guests_dietary ON guests USING gin (dietary);
CREATE INDEX timeline_events_search ON timeline_events USING gin (search);
CREATE INDEX client_data_answers ON client_data USING gin (answers jsonb_path_ops);
CREATE INDEX client_data_attending ON client_data ((answers ->> 'attending'));
CREATE INDEX photos_tags ON photos USING gin (tags);
CREATE INDEX photos_path ON photos USING hash (storage_path);
CREATE INDEX messages_of_wedding ON messages (wedding_id, sent_at DESC NULLS LAST);
CREATE INDEX audit_logs_actor ON audit.audit_logs (actor, occurred_at);
CREATE INDEX audit_logs_time ON audit.audit_logs USING brin (occurred_at);
CREATE STATISTICS guests_wedding_table (ndistinct, dependencies) ON wedding_id, table_number FROM guests;

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION touch_updated_at() IS 'Keeps updated_at true';

CREATE FUNCTION audit.record_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
BEGIN
    INSERT INTO audit.change_history (entity, entity_id, changed_by, changed_columns, old_values, new_values)
    VALUES (TG_TABLE_NAME, coalesce(after, before) ->> 'id',
            nullif(current_setting('app.user_id', true), '')::uuid,
            ARRAY(SELECT key FROM jsonb_each(coalesce(after, before)) AS field(key, value)
                  WHERE before -> key IS DISTINCT FROM after -> key ORDER BY key),
            before, after);
    RETURN NULL;
END
$$;

CREATE FUNCTION app_user() RETURNS uuid LANGUAGE sql STABLE
    RETURN nullif(current_setting('app.user_id', true), '')::uuid;

CREATE TRIGGER touch BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON vendors FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON weddings FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON guests FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at)
    EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON timeline_events FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON forms FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER audit_change AFTER INSERT OR UPDATE OR DELETE ON weddings FOR EACH ROW EXECUTE FUNCTION audit.record_change();
CREATE TRIGGER audit_change AFTER INSERT OR UPDATE OR DELETE ON guests FOR EACH ROW EXECUTE FUNCTION audit.record_change();
CREATE TRIGGER audit_change AFTER INSERT OR UPDATE OR DELETE ON timeline_events FOR EACH ROW EXECUTE FUNCTION audit.record_change();
-- Switched off by an operator once, and so it must stay after a restore.
ALTER TABLE timeline_events DISABLE TRIGGER audit_change;

CREATE VIEW wedding_overview AS
    SELECT w.id, w.title, w.wedding_date, w.status, owner.display_name AS owner, contact.full_name AS primary_contact,
           (w.address).city AS city, w.theme ->> 'style' AS style,
           count(g.id) AS invited, count(g.id) FILTER (WHERE g.rsvp = 'accepted') AS accepted
    FROM weddings w
    JOIN user_profiles owner ON owner.id = w.owner_id
    LEFT JOIN guests contact ON contact.id = w.primary_contact
    LEFT JOIN guests g ON g.wedding_id = w.id
    GROUP BY w.id, owner.id, contact.id;
CREATE VIEW awaited_guests WITH (security_barrier) AS
    SELECT id, wedding_id, first_name, last_name, email, rsvp FROM guests WHERE rsvp IN ('pending', 'no reply')
    WITH LOCAL CHECK OPTION;

CREATE MATERIALIZED VIEW wedding_statistics AS
    SELECT w.id AS wedding_id, w.wedding_date, (w.address).country AS country, w.budget,
           count(g.id) AS guests, count(DISTINCT g.household) AS households,
           count(g.id) FILTER (WHERE g.dietary <> '{}') AS special_meals,
           round(avg(g.age), 2) AS mean_age, max(normalised_name(g.last_name) COLLATE "C") AS last_in_the_list
    FROM weddings w LEFT JOIN guests g ON g.wedding_id = w.id
    GROUP BY w.id;
CREATE UNIQUE INDEX wedding_statistics_wedding ON wedding_statistics (wedding_id);
CREATE MATERIALIZED VIEW country_statistics AS
    SELECT country, date_trunc('year', wedding_date::timestamp)::date AS year, count(*) AS weddings,
           sum(guests) AS guests, sum(budget) AS budget
    FROM wedding_statistics GROUP BY 1, 2;
CREATE UNIQUE INDEX country_statistics_key ON country_statistics (country, year);
COMMENT ON MATERIALIZED VIEW country_statistics IS 'Refreshed after wedding_statistics, on which it stands';

-- Roles belong to the whole cluster: another database may have made them, and even at this moment.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['wedsync_app', 'wedsync_readonly'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
END
$$;

ALTER TABLE weddings ENABLE ROW LEVEL SECURITY;
ALTER TABLE guests ENABLE ROW LEVEL SECURITY;
ALTER TABLE client_data ENABLE ROW LEVEL SECURITY;
ALTER TABLE photos ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_weddings ON weddings TO wedsync_app
    USING (app_user() IN (owner_id, planner_id)) WITH CHECK (owner_id = app_user());
CREATE POLICY public_weddings ON weddings FOR SELECT TO wedsync_app, wedsync_readonly USING (is_public);
CREATE POLICY guests_of_own_weddings ON guests TO wedsync_app
    USING (EXISTS (SELECT FROM weddings w WHERE w.id = guests.wedding_id AND app_user() IN (w.owner_id, w.planner_id)));
CREATE POLICY answers_of_own_weddings ON client_data TO wedsync_app
    USING (EXISTS (SELECT FROM weddings w WHERE w.id = client_data.wedding_id AND w.owner_id = app_user()));
CREATE POLICY nothing_of_the_cancelled ON photos AS RESTRICTIVE FOR SELECT TO wedsync_readonly
    USING (EXISTS (SELECT FROM weddings w WHERE w.id = photos.wedding_id AND w.status <> 'cancelled'));
CREATE POLICY photos_for_all ON photos FOR SELECT TO PUBLIC USING (true);

GRANT USAGE ON SCHEMA audit TO wedsync_readonly;
GRANT SELECT ON ALL TABLES IN SCHEMA public, audit TO wedsync_readonly;
REVOKE SELECT ON user_profiles FROM wedsync_readonly;
GRANT SELECT (id, display_name, role) ON user_profiles TO wedsync_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON user_profiles, weddings, guests, timeline_events, forms, client_data, photos,
    messages, vendor_bookings, "Gästebuch – Sitzplätze" TO wedsync_app;
GRANT SELECT ON vendors, suppliers TO wedsync_app WITH GRANT OPTION;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO wedsync_app;
REVOKE EXECUTE ON FUNCTION audit.record_change() FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO wedsync_readonly;

COMMENT ON TYPE rsvp_status IS 'What a guest has answered so far';
COMMENT ON CONSTRAINT weddings_primary_contact_fkey ON weddings IS 'Deferred, because guests point back at weddings';
COMMENT ON INDEX guests_awaited IS 'The reminder job reads this every morning';

CREATE PUBLICATION wedsync_realtime FOR TABLE weddings, guests, timeline_events, messages;
